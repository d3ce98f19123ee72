package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graf-run/graf/runner/agent"
	"github.com/graf-run/graf/runner/process"
	"github.com/graf-run/graf/runner/repository"
	"github.com/graf-run/graf/runner/workfolder"
	"github.com/graf-run/graf/shared/manifest"
)

// errLeft says that the credentials would not be safe.
var errLeft = errors.New("something that the agent started has not ended, and could take the repository's credentials: nothing is pushed")

// lastLook is what there is to look at the folder of an agent that was stopped.
const lastLook = 5 * time.Second

// work is the folder that the agent works in, as it was before.
type work struct {
	r *runner
	// repository is nil where the folder is none.
	repository *repository.Repository
	// salt makes digests of Secrets' values; looked says that before is known.
	salt              []byte
	submitted, before []manifest.Object
	looked            bool
}

// checkWork says what is wrong with the settings of the working folder. It fails with
// repository.ErrConfig.
func (c Config) checkWork() error {
	if c.Manifests != "" && !filepath.IsLocal(c.Manifests) {
		return fmt.Errorf("%w: the folder for manifests, %s, must be in the working folder", repository.ErrConfig, c.Manifests)
	}
	return c.Repository.Check()
}

// openWork clones the repository, puts the submitted manifests where the agent finds
// them, and looks at what there is.
func (r *runner) openWork(ctx context.Context) (*work, *agent.Failure) {
	w := &work{r: r, salt: make([]byte, 32)}
	_, _ = rand.Read(w.salt) // never fails
	err := w.open(ctx)
	if err != nil {
		return w, w.failure(ctx, err)
	}
	if !isRoot(r.config.Folder) {
		w.look()
	}
	return w, nil
}

func (w *work) open(ctx context.Context) error {
	c, contract := &w.r.config, w.r.contract
	seed := func() error { return nil }
	if c.Manifests != "" && contract.ManifestsFolder != "" {
		seed = func() error { return workfolder.Seed(contract.ManifestsFolder, c.Folder, c.Manifests) }
	}
	if c.Repository.URL == "" { // what is in the folder is then no change
		if err := seed(); err != nil {
			return err
		}
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	w.repository, err = repository.Open(ctx, repository.Options{
		Config: c.Repository, Folder: c.Folder, TaskID: contract.TaskID, Environment: c.Environment, Program: program,
		Temporary: c.SpoolFolder, Excluded: c.Manifests, Mask: w.r.mask.Text,
		Warn: w.r.warn,
	})
	switch {
	case err == nil:
	case c.Repository.URL == "":
		w.r.log.Warn("the repository in the working folder cannot be read", "error", err)
	default:
		return err
	}
	if c.Repository.URL == "" {
		return nil
	}
	// What a process was started with anybody of its user can read, unless it says this.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide the credentials from the agent: %w", err)
	}
	c.Environment = repository.WithoutCredentials(c.Environment)
	return seed()
}

func isRoot(folder string) bool {
	absolute, err := filepath.Abs(folder)
	return err != nil || absolute == "/"
}

// look reads the manifests before the agent. Without them there is just no diff.
func (w *work) look() {
	var err error
	if submitted := w.r.contract.ManifestsFolder; submitted != "" {
		if w.submitted, err = workfolder.Read(submitted, "", w.salt); err != nil {
			w.r.log.Warn("the submitted manifests cannot be read", "error", err)
			return
		}
	}
	if w.repository != nil && len(w.submitted) == 0 {
		return // git's diff tells it all
	}
	w.before, err = workfolder.Read(w.r.config.Folder, w.r.contract.ManifestsFolder, w.salt)
	if w.looked = err == nil; err != nil {
		w.r.log.Warn("no changes of manifests will be told", "error", err)
	}
}

// finish tells what the agent did to its folder, and has it pushed if the agent did
// not fail. It returns the failure of the whole.
func (w *work) finish(ctx context.Context, end process.End, failure *agent.Failure) *agent.Failure {
	defer w.close()
	whole := ctx // tells why it failed; the bound below does not
	if ctx.Err() != nil || end.Stopped != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastLook)
		defer cancel()
	}
	change, err := w.commit(ctx)
	w.tell(change)
	if failure == nil && err == nil {
		err = w.push(ctx, end)
	}
	switch {
	case err == nil:
	case failure == nil && w.repository.Cloned():
		return w.failure(whole, err)
	default: // the end is the agent's
		w.r.warn("what has become of the repository is not told: " + w.r.mask.Text(err.Error()))
	}
	return failure
}

func (w *work) close() {
	if w.repository == nil {
		return
	}
	if err := w.repository.Close(); err != nil {
		w.r.log.Warn("a folder of git's is left", "error", err)
	}
}

// commit commits what is left to be, and reports the commits and the diff.
func (w *work) commit(ctx context.Context) (repository.Change, error) {
	if w.repository == nil {
		return repository.Change{}, nil
	}
	change, err := w.repository.Commit(ctx, w.summary())
	if err != nil || (change.Empty() && !w.repository.Cloned()) {
		return change, err
	}
	w.r.report(agent.Progress, struct {
		Kind string `json:"kind"`
		repository.Change
	}{"changes", change})
	return change, nil
}

func (w *work) summary() string {
	w.r.state.Lock()
	defer w.r.state.Unlock()
	return w.r.state.summary
}

// tell reports the state of the submitted manifests, or else the diff of the
// repository, or else of what manifests there are: a task has one.
func (w *work) tell(change repository.Change) {
	var report workfolder.Report
	if w.looked {
		after, err := workfolder.Read(w.r.config.Folder, w.r.contract.ManifestsFolder, w.salt)
		if err == nil {
			report, err = workfolder.Compare(w.submitted, w.before, after, w.r.mask.Text)
		}
		if err != nil {
			w.r.log.Warn("the changes of manifests cannot be told", "error", err)
		}
	}
	snapshot := map[string]any{"type": "after"}
	switch {
	case report.Manifests != nil:
		snapshot["manifests"] = report.Manifests
	case change.Diff != "":
		snapshot["diff"] = change.Diff
	case report.Diff != "":
		snapshot["diff"] = report.Diff
	default:
		return
	}
	w.r.add("snapshot", nil, snapshot)
}

// push takes the work to the remote, and opens a pull request.
func (w *work) push(ctx context.Context, end process.End) error {
	c := w.r.config.Repository
	if c.URL == "" || (!c.Push && !c.PullRequest) {
		return nil
	}
	if end.Left {
		return errLeft
	}
	pushed, err := w.repository.Push(ctx)
	if err != nil {
		return err
	}
	ahead, err := w.repository.Ahead(ctx)
	if err != nil {
		return err
	}
	if !ahead {
		w.r.report(agent.Progress, map[string]any{"kind": "push", "message": "There is nothing to push."})
		return nil
	}
	told := map[string]any{"branch": w.repository.Branch(), "commit": w.repository.Head()}
	if pushed {
		event := map[string]any{"kind": "push", "message": "The work is pushed to " + w.repository.Branch() + "."}
		maps.Copy(event, told)
		w.r.report(agent.Progress, event)
	}
	if c.PullRequest {
		request, err := w.repository.Propose(ctx, w.summary())
		if err != nil {
			return err
		}
		told["pullRequest"] = request.URL
		w.r.report(agent.Progress, map[string]any{
			"kind": "pullRequest", "url": request.URL, "number": request.Number, "existing": request.Existing,
			"message": "The pull request is " + request.URL + ".",
		})
	}
	w.r.state.Lock()
	defer w.r.state.Unlock()
	w.r.state.outcome = told
	return nil
}

// failure classes an error of git or the forge.
func (w *work) failure(ctx context.Context, err error) *agent.Failure {
	f := &agent.Failure{Class: agent.ClassAgent, Reason: w.r.mask.Text(err.Error())}
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errDeadline):
		f.Class = agent.ClassTimeout
	case cause != nil:
		f.Class = agent.ClassCancelled
	case errors.Is(err, repository.ErrAuthentication):
		f.Class = agent.ClassAuthentication
	case errors.Is(err, repository.ErrInfrastructure):
		f.Class = agent.ClassInfrastructure
	}
	return f
}
