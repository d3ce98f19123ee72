package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	graf "github.com/graf-run/graf/sdk/go"
)

func (a *app) artifactsCommand() *cobra.Command {
	var folder string
	command := a.onTask(&cobra.Command{
		Use:   "artifacts TASK [NAME…]",
		Short: "List a task's artifacts, or download them",
		Long: `List a task's artifacts, or download them into a folder, each verified by its SHA-256.
With names, only those.`,
		Example: `  graf artifacts 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d
  graf artifacts 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d report.md --download .`,
	}, 1<<10, "the id of a task, and names of artifacts", func(
		cmd *cobra.Command, client *graf.Client, id uuid.UUID, wanted []string,
	) error {
		task, err := client.Task(cmd.Context(), id)
		if err != nil {
			return err
		}
		artifacts, err := choose(task.Artifacts, wanted)
		if err != nil {
			return err
		}
		if folder != "" {
			return a.download(cmd, client, artifacts, folder)
		}
		return a.show(artifacts, func() error {
			rows := [][]string{{"NAME", "BYTES", "CONTENT TYPE", "SHA-256"}}
			for _, artifact := range artifacts {
				rows = append(rows, []string{artifact.Name, fmt.Sprint(artifact.SizeBytes), artifact.ContentType, artifact.Sha256})
			}
			return a.table(rows)
		})
	})
	command.Flags().StringVarP(&folder, "download", "d", "", "folder to download them into")
	return command
}

// choose are the artifacts of these names, all without names. An attempt's replaces
// that of the same name of an earlier one.
func choose(artifacts []graf.Artifact, wanted []string) ([]graf.Artifact, error) {
	last := map[string]int{}
	for i, artifact := range artifacts {
		if before, ok := last[artifact.Name]; !ok || artifacts[before].Attempt <= artifact.Attempt {
			last[artifact.Name] = i
		}
	}
	for _, name := range wanted {
		if _, ok := last[name]; !ok {
			return nil, fmt.Errorf("artifact %q: %w\ngraf artifacts TASK lists those that there are", name, errNoArtifact)
		}
	}
	chosen := []graf.Artifact{}
	for i, artifact := range artifacts {
		if last[artifact.Name] == i && (len(wanted) == 0 || slices.Contains(wanted, artifact.Name)) {
			chosen = append(chosen, artifact)
		}
	}
	return chosen, nil
}

// download downloads them into a folder, which it makes where there is none, with the progress on a terminal.
func (a *app) download(cmd *cobra.Command, client *graf.Client, artifacts []graf.Artifact, folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for _, artifact := range artifacts {
		progress := func(received, size int64) {
			if a.progress && size > 0 {
				_, _ = fmt.Fprintf(a.err, "\r\x1b[K%s %3d%%", artifact.Name, received*100/size)
			}
		}
		path, err := client.DownloadFile(cmd.Context(), artifact, folder, progress)
		if a.progress {
			_, _ = fmt.Fprint(a.err, "\r\x1b[K")
		}
		if err != nil {
			return err
		}
		if err := a.line("%s", path); err != nil {
			return err
		}
	}
	return nil
}
