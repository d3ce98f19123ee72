package repository

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Refs of the working folder's repository that are the runner's: what the work began
// with. startRef is made last, and says that the clone is whole.
const (
	revisionRef = "refs/graf/revision"
	startRef    = "refs/graf/start"
)

// cloneTries is how often the remote is asked, unless it says no.
const cloneTries = 3

var wholeHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// clone fills the working folder, or goes on with what is there.
func (r *Repository) clone(ctx context.Context) error {
	r.objects = filepath.Join(r.dir, "objects")
	whole, err := r.prepared(ctx)
	if err != nil {
		return err
	}
	err = again(ctx, func() error { return r.ask(ctx) })
	if err != nil {
		return err
	}
	if !whole {
		if err := r.fetch(ctx); err != nil {
			return err
		}
	}
	if r.revision, err = r.resolve(ctx, revisionRef); err != nil {
		return err
	}
	if r.start, err = r.resolve(ctx, startRef); err != nil {
		return err
	}
	return r.make(r.dir, "sha1")
}

// again tries what the network may have prevented.
func again(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || !errors.Is(err, ErrInfrastructure) || n == cloneTries || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(n) * time.Second):
		}
	}
}

// prepared has an empty repository in the working folder, unless a whole one is
// there. What is not of this clone is not touched: ErrGit.
func (r *Repository) prepared(ctx context.Context) (whole bool, err error) {
	if err := os.MkdirAll(r.options.Folder, 0o755); err != nil { //nolint:gosec // the agent's, which may be another user
		return false, fmt.Errorf("make the working folder: %w", err)
	}
	entries, err := os.ReadDir(r.options.Folder)
	if err != nil {
		return false, fmt.Errorf("read the working folder: %w", err)
	}
	if len(entries) > 0 {
		origin, err := r.git.run(ctx, r.theirs("config", "--local", "remote.origin.url"))
		if err != nil || strings.TrimSpace(origin) != r.options.URL {
			return false, fmt.Errorf("%w: the working folder %s is not empty, and no clone of %s", ErrGit, r.options.Folder, r.options.URL)
		}
		_, err = r.git.run(ctx, r.theirs("rev-parse", "--verify", "--quiet", startRef))
		return err == nil, r.make(r.dir, "sha1")
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--template=", "--initial-branch=" + r.options.Branch},
		{"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"},
		{"config", "user.name", authorName}, {"config", "user.email", authorEmail},
		{"config", "remote.origin.url", r.options.URL}, // last: it makes the folder this clone
	} {
		if _, err := r.git.run(ctx, r.theirs(args...)); err != nil {
			return false, err
		}
	}
	if r.options.Excluded != "" {
		if err := r.exclude(); err != nil {
			return false, err
		}
	}
	return false, r.make(r.dir, "sha1")
}

// exclude keeps the excluded folder out of commits, the agent's among them.
func (r *Repository) exclude() error {
	info := filepath.Join(r.dir, "info")
	if err := os.MkdirAll(info, 0o755); err != nil { //nolint:gosec // git's own mode
		return fmt.Errorf("exclude %s: %w", r.options.Excluded, err)
	}
	text := "/" + filepath.ToSlash(filepath.Clean(r.options.Excluded)) + "\n"
	if err := os.WriteFile(filepath.Join(info, "exclude"), []byte(text), 0o644); err != nil { //nolint:gosec // git's own mode
		return fmt.Errorf("exclude %s: %w", r.options.Excluded, err)
	}
	return nil
}

// ask asks the remote for its branches, as far as they matter here.
func (r *Repository) ask(ctx context.Context) error {
	request := r.ours("ls-remote", "--symref", "--", r.options.URL, "HEAD",
		"refs/heads/"+r.options.Branch, "refs/heads/"+r.options.Revision, "refs/tags/"+r.options.Revision)
	request.network = true
	out, err := r.git.run(ctx, request)
	if err != nil {
		return err
	}
	refs := map[string]string{}
	r.target = ""
	for line := range strings.Lines(out) {
		value, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if branch, isSymbolic := strings.CutPrefix(value, "ref: refs/heads/"); isSymbolic && name == "HEAD" {
			r.target = branch
			continue
		}
		refs[name] = value
	}
	r.tip = refs["refs/heads/"+r.options.Branch]
	wanted := r.options.Revision
	switch {
	case wanted == "" && refs["HEAD"] == "":
		return fmt.Errorf("%w: the repository has no default branch: it is empty, or a revision must be named", ErrGit)
	case wanted == "":
		r.revision = "HEAD"
	case refs["refs/heads/"+wanted] != "":
		r.revision, r.target = "refs/heads/"+wanted, wanted
	case refs["refs/tags/"+wanted] != "":
		r.revision = "refs/tags/" + wanted
	case wholeHash.MatchString(wanted):
		r.revision = wanted
	default:
		return fmt.Errorf("%w: the repository has no branch or tag %q", ErrGit, wanted)
	}
	return nil
}

// fetch gets the revision, and the branch to push to where the remote has it: the
// work then goes on from there.
func (r *Repository) fetch(ctx context.Context) error {
	specs := []string{"+" + r.revision + ":" + revisionRef}
	begin := revisionRef
	if r.tip != "" {
		specs = append(specs, "+refs/heads/"+r.options.Branch+":"+startRef)
		begin = startRef
	}
	request := r.ours(append([]string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", r.options.URL}, specs...)...)
	request.network = true
	if err := again(ctx, func() error { _, err := r.git.run(ctx, request); return err }); err != nil {
		return err
	}
	var commits [2]string
	for i, ref := range []string{revisionRef, begin} {
		out, err := r.git.run(ctx, r.ours("rev-parse", "--verify", ref+"^{commit}"))
		if err != nil {
			return err
		}
		commits[i] = strings.TrimSpace(out)
	}
	steps := [][]string{
		{"update-ref", revisionRef, commits[0]},
		{"checkout", "--quiet", "--force", "-B", r.options.Branch, commits[1]},
		{"update-ref", startRef, commits[1]},
	}
	if r.target != "" && r.revision != "" && !strings.HasPrefix(r.revision, "refs/tags/") && !wholeHash.MatchString(r.revision) {
		steps = append([][]string{{"update-ref", "refs/remotes/origin/" + r.target, commits[0]}}, steps...)
	}
	for _, args := range steps {
		if _, err := r.git.run(ctx, r.theirs(args...)); err != nil {
			return err
		}
	}
	return nil
}

// resolve reads a ref of the working folder's repository.
func (r *Repository) resolve(ctx context.Context, ref string) (string, error) {
	out, err := r.git.run(ctx, r.theirs("rev-parse", "--verify", ref+"^{commit}"))
	return strings.TrimSpace(out), err
}
