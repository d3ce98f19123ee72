package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Whose the runner's commits are. The address is one that nobody has.
const (
	authorName  = "Graf"
	authorEmail = "graf@graf.invalid"
)

// findTimeout bounds the look at a repository that is there: the agent waits for it.
const findTimeout = 30 * time.Second

// Options are Config, and what the runner knows.
type Options struct {
	Config
	// Folder is the one that the agent works in.
	Folder string
	TaskID string
	// Environment is the runner's, NAME=value; GIT_USERNAME and GIT_TOKEN are in it.
	Environment []string
	// Program is graf-runner, whose subcommand HelperName is Credential.
	Program string
	// Temporary is where the runner's own folder is made; "" is the system's choice.
	Temporary string
	// Excluded is a folder in the working one that is no part of a clone; "" is none.
	Excluded string
	// Mask takes secrets out of a text.
	Mask func(string) string
	// Warn tells people what is not done as they may expect.
	Warn func(message string)
}

// Repository is the one in a working folder.
type Repository struct {
	options Options
	git     git
	// state is the runner's own folder, "" while the agent works in a clone; first is the
	// one that Open made beside a repository that was there.
	state, first string
	// files are what the GIT_DIR is made of, index what its index was before the agent:
	// nil for none.
	files map[string]string
	index *os.File
	// dir is the .git of the working folder, objects where its objects are.
	dir, objects string
	// shared says that objects get what the runner adds: the repository is the
	// runner's clone, not one that was there.
	shared bool
	// target is the branch that the work is for, revision the commit it was begun
	// with, tip that of the branch at the remote, "" if it has none.
	target, revision, tip string
	// start and startTree are the commit and the files before the agent; start is ""
	// in a repository without any commit.
	start, startTree string
	// head and tree are those after it.
	head, tree string
}

// Open clones the repository into the folder, which must be empty, or goes on with
// what an earlier try of the same left there. Without an URL it looks whether the
// folder is a repository already, and gives nil for none. Errors are ErrConfig,
// ErrAuthentication, ErrInfrastructure and ErrGit. The runner must run no other
// program meanwhile.
func Open(ctx context.Context, o Options) (_ *Repository, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Folder, err = filepath.Abs(o.Folder); err != nil {
		return nil, fmt.Errorf("find the working folder: %w", err)
	}
	r := &Repository{options: o, dir: filepath.Join(o.Folder, ".git"), shared: o.URL != ""}
	if _, err := os.Lstat(r.dir); !r.shared && err != nil {
		return nil, nil //nolint:nilnil // there is none, as promised
	}
	if r.options.Branch == "" {
		r.options.Branch = "graf/" + o.TaskID
	}
	r.git = newGit(o)
	if err := r.newFolder(); err != nil {
		return nil, err
	}
	patience := o.Timeout
	if !r.shared {
		patience = min(patience, findTimeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it took more than %v", patience))
	defer cancel()
	if r.shared {
		err = r.clone(ctx)
	} else {
		err = r.find(ctx)
	}
	if err == nil {
		err = r.leave()
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Cloned says that the repository is the runner's clone.
func (r *Repository) Cloned() bool { return r.shared }

// Branch is what is pushed to.
func (r *Repository) Branch() string { return r.options.Branch }

// find looks at a repository that is there.
func (r *Repository) find(ctx context.Context) error {
	out, err := r.git.run(ctx, invocation{
		args:   []string{"rev-parse", "--absolute-git-dir", "--path-format=absolute", "--git-common-dir", "--show-object-format"},
		folder: r.options.Folder,
	})
	if err != nil {
		return err
	}
	answer := strings.Split(strings.TrimSpace(out), "\n")
	if len(answer) != 3 {
		return fmt.Errorf("%w: git rev-parse answers %q", ErrGit, out)
	}
	r.dir, r.objects = answer[0], filepath.Join(answer[1], "objects")
	if err := r.make(answer[1], answer[2]); err != nil {
		return err
	}
	if r.start, err = r.agentHead(ctx); err != nil {
		return err
	}
	r.startTree, _, err = r.writeTree(ctx) // what cannot be stored now, is told of if it cannot be then
	return err
}

// alternates is the file of a GIT_DIR that says where else there are objects.
const alternates = "objects/info/alternates"

// make makes the runner's own GIT_DIR, beside a repository whose objects are of a
// format.
func (r *Repository) make(common, format string) error {
	r.files = map[string]string{
		"HEAD":   "ref: refs/heads/none\n",
		"config": "[core]\n\trepositoryformatversion = 1\n\tbare = false\n[extensions]\n\tobjectformat = " + format + "\n",
	}
	if !r.shared {
		r.files[alternates] = r.objects + "\n"
	}
	for from, to := range map[string]string{
		filepath.Join(r.dir, "index"): "index", filepath.Join(common, "shallow"): "shallow",
		filepath.Join(common, "info", "exclude"): "info/exclude",
	} {
		if info, err := os.Lstat(from); err != nil || !info.Mode().IsRegular() {
			continue
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("read the repository: %w", err)
		}
		r.files[to] = string(text)
	}
	defer delete(r.files, "index") // leave keeps it, as it is then
	return r.write()
}

// write writes the files of the GIT_DIR.
func (r *Repository) write() error {
	for _, folder := range []string{"objects/info", "refs", "info"} {
		if err := os.MkdirAll(filepath.Join(r.own(), folder), 0o700); err != nil {
			return fmt.Errorf("make a folder for git: %w", err)
		}
	}
	for name, text := range r.files {
		if err := os.WriteFile(filepath.Join(r.own(), name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("make a folder for git: %w", err)
		}
	}
	return nil
}

// own is the runner's own GIT_DIR; while there is none, nobody can make it.
func (r *Repository) own() string { return filepath.Join(cmp.Or(r.state, os.DevNull), "git") }

// ours is an invocation with the runner's own GIT_DIR: nothing that the agent wrote
// counts but objects.
func (r *Repository) ours(args ...string) invocation {
	environment := []string{"GIT_DIR=" + r.own(), "GIT_WORK_TREE=" + r.options.Folder}
	if r.shared {
		environment = append(environment, "GIT_OBJECT_DIRECTORY="+r.objects)
	}
	return invocation{args: args, folder: r.options.Folder, environment: environment}
}

// theirs is an invocation on the .git of the working folder; it never has the
// credentials. After the agent it reads and writes refs alone: objects that are missing
// could have it run programs, to fetch them.
func (r *Repository) theirs(args ...string) invocation {
	return invocation{
		args: args, folder: r.options.Folder, environment: []string{"GIT_DIR=" + r.dir, "GIT_WORK_TREE=" + r.options.Folder},
	}
}

// agentHead is the commit that the working folder is at, "" for none.
func (r *Repository) agentHead(ctx context.Context) (string, error) {
	head, err := r.git.run(ctx, r.theirs("rev-parse", "--verify", "HEAD"))
	if err == nil {
		head, err = r.git.run(ctx, r.ours("rev-parse", "--verify", strings.TrimSpace(head)+"^{commit}"))
		return strings.TrimSpace(head), err
	}
	// A branch without a commit has a name, and nothing else.
	if _, nameErr := r.git.run(ctx, r.theirs("symbolic-ref", "HEAD")); nameErr != nil {
		return "", err
	}
	return "", nil
}

// writeTree stores the files of the working folder, and returns their tree, and why
// some could not be stored: what git has of those stays.
func (r *Repository) writeTree(ctx context.Context) (tree string, left, err error) {
	if _, err = r.git.run(ctx, r.ours("add", "--all", "--ignore-errors", "--no-warn-embedded-repo", ".")); exitCode(err) == 1 {
		left, err = err, nil
	}
	if err != nil {
		return "", nil, err
	}
	out, err := r.git.run(ctx, r.ours("write-tree"))
	return strings.TrimSpace(out), left, err
}

// Head is the commit that Commit left the work at.
func (r *Repository) Head() string { return r.head }
