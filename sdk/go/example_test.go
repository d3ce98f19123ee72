package graf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

// Submit a task, follow what its agent reports, and see how it ended. The examples
// run on a real Graf, which GRAF_URL and GRAF_TOKEN name.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client, err := graf.New(graf.OptionsFromEnvironment())
	if err != nil {
		log.Fatal(err)
	}
	created, err := client.Submit(ctx, graf.TaskSubmission{
		Prompt: "Say hello.",
		Agent:  graf.Agent{Kind: graf.AgentKindCommand, Command: []string{"echo", "hello"}},
		Tags:   []string{"example"},
	})
	if err != nil {
		log.Fatal(err)
	}
	for event, err := range client.Follow(ctx, created.TaskID, 0) {
		if err != nil {
			log.Fatal(err)
		}
		log.Println(event.Sequence, event.EventType)
	}
	task, err := client.Task(ctx, created.TaskID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Status, len(task.Attempts))
	// Output: succeeded 1
}

// Errors are told apart by kind, and say what is wrong with each field.
func ExampleProblem() {
	client, err := graf.New(graf.OptionsFromEnvironment())
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Task(context.Background(), uuid.Nil)
	fmt.Println(errors.Is(err, graf.ErrNotFound))

	_, err = client.Submit(context.Background(), graf.TaskSubmission{Prompt: "No agent."})
	if problem, ok := errors.AsType[*graf.Problem](err); ok {
		fmt.Println(errors.Is(problem, graf.ErrInvalid), problem.Errors[0].Pointer)
	}
	// Output:
	// true
	// true /agent/command
}

// An agent reports progress and uploads a file. In a container [graf.NewInContainer]
// makes the client; here the token is the one that the submission was answered with.
func ExampleClient_UploadArtifact() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	options := graf.OptionsFromEnvironment()
	client, err := graf.New(options)
	if err != nil {
		log.Fatal(err)
	}
	created, err := client.Submit(ctx, graf.TaskSubmission{
		Prompt: "Wait until you are cancelled.",
		Agent:  graf.Agent{Kind: graf.AgentKindCommand, Command: []string{"sleep", "600"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for status := graf.TaskStatusQueued; status != graf.TaskStatusRunning; {
		task, err := client.Task(ctx, created.TaskID)
		if err != nil {
			log.Fatal(err)
		}
		status = task.Status
	}

	options.Token = graf.StaticToken(created.Callback.Token)
	agent, err := graf.New(options)
	if err != nil {
		log.Fatal(err)
	}
	accepted, err := agent.PostEvents(ctx, created.TaskID, graf.Event{
		EventType: graf.EventTypeProgress, Content: graf.Text("Half of it is done."),
	})
	if err != nil {
		log.Fatal(err)
	}
	report := []byte("# All is well\n")
	upload, err := agent.UploadArtifact(ctx, created.TaskID, graf.File{
		Name: "report.md", ContentType: "text/markdown", Content: bytes.NewReader(report), Size: int64(len(report)),
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Cancel(ctx, created.TaskID, "the example is over"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(accepted.Events), upload.Name)
	// Output: 1 report.md
}

// Page through all tasks that carry a tag.
func ExampleClient_Tasks() {
	client, err := graf.New(graf.OptionsFromEnvironment())
	if err != nil {
		log.Fatal(err)
	}
	count := 0
	for _, err := range client.Tasks(context.Background(), graf.ListTasksParams{Tag: []string{"no-task-has-this"}}) {
		if err != nil {
			log.Fatal(err)
		}
		count++
	}
	fmt.Println(count)
	// Output: 0
}
