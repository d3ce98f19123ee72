package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// contract is what Graf tells an agent by its environment.
type contract struct {
	taskID       string
	callbackURL  string
	token        string // never logged
	memoryURL    string
	promptFile   string
	manifestsDir string
	deadline     time.Time
	traceParent  string // W3C Trace Context; may be empty
}

func readContract(getenv func(string) string) (contract, error) {
	c := contract{
		taskID: getenv("GRAF_TASK_ID"), callbackURL: getenv("GRAF_CALLBACK_URL"), token: getenv("GRAF_CALLBACK_TOKEN"),
		memoryURL: getenv("GRAF_MEMORY_URL"), promptFile: getenv("GRAF_PROMPT_FILE"),
		manifestsDir: getenv("GRAF_MANIFESTS_DIR"), traceParent: getenv("TRACEPARENT"),
	}
	var problems []error
	for _, v := range []struct{ name, value string }{
		{"GRAF_TASK_ID", c.taskID}, {"GRAF_CALLBACK_TOKEN", c.token},
		{"GRAF_PROMPT_FILE", c.promptFile}, {"GRAF_MANIFESTS_DIR", c.manifestsDir},
	} {
		if v.value == "" {
			problems = append(problems, fmt.Errorf("%s is not set", v.name))
		}
	}
	for _, v := range []struct{ name, value string }{
		{"GRAF_CALLBACK_URL", c.callbackURL}, {"GRAF_MEMORY_URL", c.memoryURL},
	} {
		if u, err := url.Parse(v.value); err != nil || u.Scheme == "" || u.Host == "" {
			problems = append(problems, fmt.Errorf("%s is no URL", v.name))
		}
	}
	var err error
	if c.deadline, err = time.Parse(time.RFC3339, getenv("GRAF_DEADLINE")); err != nil {
		problems = append(problems, fmt.Errorf("GRAF_DEADLINE is no time as in RFC 3339: %w", err))
	}
	if len(problems) > 0 {
		return contract{}, fmt.Errorf("this is no task's container; submit a task with this program as its agent: %w",
			errors.Join(problems...))
	}
	return c, nil
}
