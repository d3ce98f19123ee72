package runner

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/runner/agent"
	"github.com/graf-run/graf/runner/artifact"
	graf "github.com/graf-run/graf/sdk/go"
)

// check tells what is wrong with the patterns of artifacts, or the settings of the working folder.
func (c Config) check() error {
	for _, pattern := range c.Artifacts {
		if err := artifact.CheckPattern(pattern); err != nil {
			return fmt.Errorf("artifacts: %w", err)
		}
	}
	return c.checkWork()
}

// uploadArtifacts uploads what the agent leaves, before its end is reported: after that
// Graf takes no more. Once the run is told to end, there is as long as for the spool.
func (r *runner) uploadArtifacts(ctx context.Context) {
	if len(r.config.Artifacts) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.ArtifactsTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(r.config.Flush, cancel) })
	defer stop()
	client, task, err := r.client()
	if err != nil {
		r.warn("no artifacts are uploaded: " + err.Error())
		return
	}
	uploader := artifact.Uploader{
		Client: client, Task: task, Folder: r.config.Folder, Patterns: r.config.Artifacts,
		Mask: r.mask.Text, Warn: r.warn, Prefix: r.prefix + "artifact-",
	}
	r.log.Info("artifacts are uploaded", "files", uploader.Run(bounded))
}

// client calls Graf with the task's token.
func (r *runner) client() (*graf.Client, uuid.UUID, error) {
	task, err := uuid.Parse(r.contract.TaskID)
	if err != nil {
		return nil, task, fmt.Errorf("GRAF_TASK_ID: %w", err)
	}
	base, ok := strings.CutSuffix(r.contract.CallbackURL, "/v1/codex/tasks/"+task.String()+"/events")
	if !ok {
		return nil, task, fmt.Errorf("GRAF_CALLBACK_URL does not end in the task's events: %w", os.ErrInvalid)
	}
	client, err := graf.New(graf.Options{
		BaseURL: base, Token: graf.StaticToken(r.contract.Token), UserAgent: "graf-runner",
		Retry: graf.Retry{Attempts: 12}, // a minute or so
	})
	return client, task, err
}

// warn tells people, in the task's log and in the container's.
func (r *runner) warn(message string) {
	r.log.Warn("the runner warns", "of", message)
	r.report(agent.Log, map[string]any{"stream": "runner", "text": message})
}
