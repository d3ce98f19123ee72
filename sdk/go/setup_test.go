package graf_test

import (
	"context"
	"testing"
	"time"

	graf "github.com/graf-run/graf/sdk/go"
)

// patience bounds every wait.
const patience = 90 * time.Second

// client calls the platform beside the tests.
func client(t *testing.T) *graf.Client {
	t.Helper()
	c, err := graf.New(graf.OptionsFromEnvironment())
	must(t, err)
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shell is a submission of a task that a shell script does.
func shell(prompt, script string) graf.TaskSubmission {
	return graf.TaskSubmission{
		Prompt: prompt, Agent: graf.Agent{Kind: graf.AgentKindCommand, Command: []string{"sh", "-c", script}}, Tags: []string{"sdk"},
	}
}
