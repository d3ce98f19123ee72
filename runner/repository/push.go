package repository

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Push brings the work, as Commit left it, to the branch: never by force. It says
// whether there was anything to push; a branch with nothing beyond the revision is
// not made. ErrDiverged: somebody else has pushed to the branch meanwhile.
func (r *Repository) Push(ctx context.Context) (pushed bool, err error) {
	if ahead, err := r.Ahead(ctx); err != nil || !ahead || r.head == r.tip {
		return false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.Timeout, fmt.Errorf("it took more than %v", r.options.Timeout))
	defer cancel()
	request := r.ours("push", "--porcelain", "--no-verify", "--", r.options.URL, r.head+":refs/heads/"+r.options.Branch)
	request.network = true
	if err := again(ctx, func() error { _, err := r.git.run(ctx, request); return err }); err != nil {
		if errors.Is(err, ErrDiverged) {
			return false, fmt.Errorf("%w: %s has commits that this work does not have; nothing was pushed", ErrDiverged, r.options.Branch)
		}
		return false, err
	}
	r.tip = r.head
	return true, nil
}

// Ahead says whether the work has commits beyond the revision that it began with.
func (r *Repository) Ahead(ctx context.Context) (bool, error) {
	out, err := r.git.run(ctx, r.ours("rev-list", "--count", r.head, "^"+r.revision))
	if err != nil {
		return false, err
	}
	count, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return false, fmt.Errorf("%w: git rev-list: %w", ErrGit, err)
	}
	return count > 0, nil
}

// Propose opens a pull request for the branch, unless one is open.
func (r *Repository) Propose(ctx context.Context, summary string) (PullRequest, error) {
	f, err := r.options.forge()
	if err != nil {
		return PullRequest{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if r.target == "" {
		return PullRequest{}, fmt.Errorf("%w: the repository has no default branch for the pull request: begin with a branch", ErrGit)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.Timeout, fmt.Errorf("it took more than %v", r.options.Timeout))
	defer cancel()
	summary = r.options.Mask(summary)
	f.token, f.mask = valueOf(r.git.credentials, tokenVariable), r.options.Mask
	return f.propose(ctx, proposal{
		Title: Title(summary, r.options.TaskID), Body: Body(summary, r.options.TaskID), Head: r.options.Branch, Base: r.target,
	})
}
