package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// behaviours are those of shared/api/conformance, by name.
var behaviours = map[string]func(ctx context.Context, arguments []string) error{
	"contract": contract,
	"fail":     fail,
	"learn":    learn,
	"deaf":     deaf,
	"begin":    begin,
	"leave":    leave,
	"die":      die,
	"unheard":  unheard,
	"repeat":   repeat,
}

// contract checks what an agent is given, and works: an argument and a variable as they were submitted, the prompt, the
// manifest, the deadline, and addresses of its own task.
func contract(ctx context.Context, arguments []string) error {
	literal, run := os.Getenv("LITERAL"), os.Getenv("RUN")
	if len(arguments) != 1 || literal == "" || arguments[0] != literal {
		return fmt.Errorf("the arguments are %q, LITERAL is %q", arguments, literal)
	}
	if err := promptSays("run " + run); err != nil {
		return err
	}
	if err := manifestSays(run); err != nil {
		return err
	}
	if deadline, _ := time.Parse(time.RFC3339, os.Getenv("GRAF_DEADLINE")); !deadline.After(time.Now()) {
		return fmt.Errorf("GRAF_DEADLINE is %q: no time to come", os.Getenv("GRAF_DEADLINE"))
	}
	for _, name := range []string{"GRAF_CALLBACK_URL", "GRAF_MEMORY_URL"} {
		if id := os.Getenv("GRAF_TASK_ID"); id == "" || !strings.Contains(os.Getenv(name), id) {
			return fmt.Errorf("GRAF_TASK_ID is %q, %s is %q", id, name, os.Getenv(name))
		}
	}
	return work(ctx, "", true)
}

func promptSays(words string) error {
	prompt, err := os.ReadFile(os.Getenv("GRAF_PROMPT_FILE")) //nolint:gosec // Graf says which
	if err != nil {
		return err
	}
	if !strings.Contains(string(prompt), words) {
		return fmt.Errorf("the prompt does not say %q: %s", words, prompt)
	}
	return nil
}

func manifestSays(words string) error {
	folder := os.Getenv("GRAF_MANIFESTS_DIR")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		// Kubernetes' own folder and link beside the files have names with two dots.
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, entry.Name())) //nolint:gosec // Graf says which
		if err == nil && strings.Contains(string(text), words) {
			return nil
		}
	}
	return fmt.Errorf("no manifest says %q, of %v", words, entries)
}

// fail reports a failure and exits with a code, which may be 0.
func fail(ctx context.Context, arguments []string) error {
	code, err := exitCode(arguments)
	if err != nil {
		return err
	}
	if err := report(ctx, "started", "Working.", true); err != nil {
		return err
	}
	if err := report(ctx, "failed", "The change was refused.", true); err != nil {
		return err
	}
	return exit(code, "there is no way to go on")
}

func exitCode(arguments []string) (int, error) {
	if len(arguments) != 1 {
		return 0, errors.New("say with which code to exit")
	}
	return strconv.Atoi(arguments[0])
}

// exit leaves words in the log and ends.
func exit(code int, words string) error {
	fmt.Fprintln(os.Stderr, "e2e-agent:", words)
	os.Exit(code)
	return nil
}

// learn fails, unless its prompt says why the attempt before it did.
func learn(ctx context.Context, _ []string) error {
	const words = "nobody told the first attempt"
	if err := promptSays("## Attempt 1 of 2 failed"); err != nil {
		return errors.New(words)
	}
	if err := promptSays("> e2e-agent: " + words); err != nil {
		return err
	}
	return work(ctx, "", true)
}

// deaf never reports a word, and does not end when it is told to.
func deaf(context.Context, []string) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "e2e-agent: deaf")
	time.Sleep(24 * time.Hour) // the most that a task may take
	return nil
}

// begin reports that it began, and ends only when it is told to.
func begin(ctx context.Context, _ []string) error {
	if err := report(ctx, "started", "Working.", true); err != nil {
		return err
	}
	return hang(ctx)
}

// leave takes its time when it is told to end, and says a last word.
func leave(ctx context.Context, _ []string) error {
	if err := report(ctx, "started", "Working.", true); err != nil {
		return err
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	time.Sleep(500 * time.Millisecond) // as long as an end without it would take to be told
	return report(ctx, "progress", "Half of it is done.", true)
}

// die ends as a process does that is killed.
func die(context.Context, []string) error {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		return err
	}
	// The first process of a container cannot be killed from within: it ends with the code that tells of it.
	time.Sleep(time.Second)
	return exit(128+int(syscall.SIGKILL), "killed")
}

// unheard reports to where nobody listens and exits with a code.
func unheard(ctx context.Context, arguments []string) error {
	code, err := exitCode(arguments)
	if err != nil {
		return err
	}
	for _, kind := range []string{"started", "completed"} {
		body, err := newReport(kind, "Nobody hears.")
		if err != nil {
			return err
		}
		if answer, err := post(ctx, "http://127.0.0.1:1/", body, false); err == nil {
			return fmt.Errorf("port 1 has answered: %s", answer)
		}
	}
	return exit(code, "no report was heard")
}

// repeat sends each report again and again, also at the same time: the answer must
// always be the same.
func repeat(ctx context.Context, _ []string) error {
	for _, kind := range []string{"started", "progress", "completed"} {
		body, err := newReport(kind, "Said more than once.")
		if err != nil {
			return err
		}
		first, err := sendCopies(ctx, body)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if later, err := sendCopies(ctx, body); err != nil || later != first {
			return errors.Join(err, fmt.Errorf("%s: it has the sequence numbers %d and %d", kind, first, later))
		}
	}
	return nil
}

// sendCopies sends a report four times at once, and gives the sequence number that it was given each time.
func sendCopies(ctx context.Context, body string) (int, error) {
	const copies = 4
	numbers, errs := make([]int, copies), make([]error, copies)
	var sending sync.WaitGroup
	for i := range copies {
		sending.Go(func() { numbers[i], errs[i] = sequence(ctx, body) })
	}
	sending.Wait()
	for i, number := range numbers {
		if errs[i] == nil && number != numbers[0] {
			errs[i] = fmt.Errorf("it has the sequence numbers %d and %d", numbers[0], number)
		}
	}
	return numbers[0], errors.Join(errs...)
}

// sequence sends a report and gives the sequence number of its event.
func sequence(ctx context.Context, body string) (int, error) {
	answer, err := post(ctx, os.Getenv("GRAF_CALLBACK_URL"), body, true)
	if err != nil {
		return 0, err
	}
	var accepted struct {
		Events []struct {
			Sequence int `json:"sequence"`
		} `json:"events"`
	}
	if err := json.Unmarshal([]byte(answer), &accepted); err != nil {
		return 0, err
	}
	if len(accepted.Events) != 1 {
		return 0, fmt.Errorf("one event was sent, and accepted were: %s", answer)
	}
	return accepted.Events[0].Sequence, nil
}
