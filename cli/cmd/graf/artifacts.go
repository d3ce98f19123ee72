package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	graf "github.com/graf-run/graf/sdk/go"
)

func (a *app) artifactsCommand() *cobra.Command {
	var folder string
	var force bool
	command := a.onTask(&cobra.Command{
		Use:   "artifacts TASK [NAME…]",
		Short: "List a task's artifacts, or download them",
		Long: `List a task's artifacts, or download them into a folder, each verified by its SHA-256.
With names, only those. A file that is there already is replaced with --force alone, for
the agent chose the names.`,
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
			return a.download(cmd.Context(), &download{client, id, folder, force}, artifacts)
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
	command.Flags().BoolVar(&force, "force", false, "replace files that are there already")
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

// download is where artifacts of a task are downloaded to.
type download struct {
	client *graf.Client
	task   uuid.UUID
	folder string
	force  bool
}

// download downloads artifacts, with the progress on a terminal, and prints the paths.
func (a *app) download(ctx context.Context, to *download, artifacts []graf.Artifact) error {
	type file struct {
		Name string `json:"name"`
		Path string `json:"path"`
	}
	if err := to.prepare(artifacts); err != nil {
		return err
	}
	files := []file{}
	for _, artifact := range artifacts {
		path, err := to.fetch(ctx, artifact, a.progressOf(artifact.Name))
		if a.progress {
			_, _ = fmt.Fprint(a.err, "\r\x1b[K")
		}
		if err != nil {
			return err
		}
		files = append(files, file{artifact.Name, path})
		if a.forPrograms() {
			continue
		}
		if err := a.line("%s", path); err != nil {
			return err
		}
	}
	return a.show(files, func() error { return nil })
}

// progressOf draws how far a download is.
func (a *app) progressOf(name string) func(received, size int64) {
	return func(received, size int64) {
		if a.progress && size > 0 {
			_, _ = fmt.Fprintf(a.err, "\r\x1b[K%s %3d%%", name, received*100/size)
		}
	}
}

// prepare makes the folder where there is none, and refuses to replace what is in it.
func (d *download) prepare(artifacts []graf.Artifact) error {
	for _, artifact := range artifacts {
		path := filepath.Join(d.folder, artifact.Name)
		if _, err := os.Lstat(path); err == nil && !d.force {
			return usage("%s is there already\n--force replaces it, or choose another folder or artifacts by their names", path)
		}
	}
	return os.MkdirAll(d.folder, 0o750)
}

// fetch downloads one artifact and gives its path. The link to it may have run out
// while others were downloaded, so that a new one is asked for, once.
func (d *download) fetch(ctx context.Context, artifact graf.Artifact, progress func(received, size int64)) (string, error) {
	path, err := d.client.DownloadFile(ctx, artifact, d.folder, progress)
	if !errors.Is(err, graf.ErrForbidden) {
		return path, err
	}
	task, err := d.client.Task(ctx, d.task)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(task.Artifacts, func(a graf.Artifact) bool { return a.ArtifactID == artifact.ArtifactID })
	if at < 0 {
		return "", fmt.Errorf("artifact %q: %w", artifact.Name, errNoArtifact)
	}
	return d.client.DownloadFile(ctx, task.Artifacts[at], d.folder, progress)
}
