// Package runner is the entry point of every execution: it starts the agent, and
// turns what it does into reports to Graf.
package runner

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"
)

// Contract is what Graf tells a container, by its environment: see
// docs/container-contract.md.
type Contract struct {
	TaskID      string
	CallbackURL string
	Token       string
	// MemoryURL and ActionsURL may be empty, as may be ManifestsFolder.
	MemoryURL, ActionsURL string
	ManifestsFolder       string
	Prompt                string
	// Deadline may be zero: none.
	Deadline    time.Time
	TraceParent string
	Budget      Budget
}

// ErrContract says that the environment, or the arguments, are not what they must be.
var ErrContract = errors.New("the container contract is not kept")

// maxPrompt bounds the prompt with what was recalled.
const maxPrompt = 1 << 20

var taskID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ReadContract reads the environment. Its error, ErrContract, tells of all that is
// wrong at once.
func ReadContract(get func(name string) string) (Contract, error) {
	c := Contract{
		TaskID: get("GRAF_TASK_ID"), CallbackURL: get("GRAF_CALLBACK_URL"), Token: get("GRAF_CALLBACK_TOKEN"),
		MemoryURL: get("GRAF_MEMORY_URL"), ActionsURL: get("GRAF_ACTIONS_URL"), ManifestsFolder: get("GRAF_MANIFESTS_DIR"),
		TraceParent: get("TRACEPARENT"),
	}
	var errs []error
	wrong := func(name, format string, arguments ...any) {
		errs = append(errs, fmt.Errorf("%s %s", name, fmt.Sprintf(format, arguments...)))
	}
	if !taskID.MatchString(c.TaskID) {
		wrong("GRAF_TASK_ID", "is %q: it must be the task's id, a UUID", c.TaskID)
	}
	if c.Token == "" {
		wrong("GRAF_CALLBACK_TOKEN", "is missing")
	}
	for _, name := range []string{"GRAF_CALLBACK_URL", "GRAF_MEMORY_URL", "GRAF_ACTIONS_URL"} {
		text := get(name)
		u, err := url.Parse(text)
		if text == "" && name != "GRAF_CALLBACK_URL" {
			continue
		}
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			wrong(name, "is %q: it must be an http or https URL", text)
		}
	}
	var err error
	if c.Deadline, err = readDeadline(get("GRAF_DEADLINE")); err != nil {
		wrong("GRAF_DEADLINE", "%v", err)
	}
	if c.Prompt, err = readPrompt(get("GRAF_PROMPT_FILE")); err != nil {
		wrong("GRAF_PROMPT_FILE", "%v", err)
	}
	for name, figure := range map[string]*float64{"GRAF_BUDGET_TOKENS": &c.Budget.Tokens, "GRAF_BUDGET_USD": &c.Budget.USD} {
		if *figure, err = number(get(name), name == "GRAF_BUDGET_TOKENS"); err != nil {
			wrong(name, "%v", err)
		}
	}
	if len(errs) > 0 {
		return Contract{}, fmt.Errorf("%w: %w", ErrContract, errors.Join(errs...))
	}
	return c, nil
}

func readDeadline(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	deadline, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("is %q: it must be a time such as 2026-01-02T15:04:05Z", text)
	}
	return deadline, nil
}

func readPrompt(name string) (string, error) {
	if name == "" {
		return "", errors.New("is missing")
	}
	info, err := os.Stat(name) // before it is opened: a pipe would wait for a writer
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxPrompt {
		return "", fmt.Errorf("is %s: it must be a file of at most %d bytes", name, maxPrompt)
	}
	text, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	if !utf8.Valid(text) {
		return "", fmt.Errorf("is %s, which is not UTF-8", name)
	}
	return string(text), nil
}

func number(text string, whole bool) (float64, error) {
	if text == "" {
		return 0, nil
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || !(value > 0) || math.IsInf(value, 0) || (whole && value != float64(int64(value))) {
		return 0, fmt.Errorf("is %q: it must be a number greater than 0", text)
	}
	return value, nil
}
