package repository

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is told of a change.
const (
	maxCommits = 100
	maxFiles   = 200
	maxText    = 200
	// maxDiff is in bytes; so is maxContent, which is of all as JSON: Graf takes
	// 256 KiB.
	maxDiff    = 96 << 10
	maxContent = 240 << 10
	// maxHidden bounds the files that are kept out of a diff.
	maxHidden = 1000
)

// Commit is one that the agent or the runner made.
type Commit struct {
	Hash    string    `json:"hash"`
	Subject string    `json:"subject"`
	Author  string    `json:"author"`
	Time    time.Time `json:"time"`
}

// File is one that has changed. A binary one has no lines.
type File struct {
	Path    string `json:"path"`
	Added   int    `json:"added"`
	Deleted int    `json:"deleted"`
	Binary  bool   `json:"binary,omitempty"`
}

// Change is what became of a repository, without secrets, and bounded: the counts
// are of all, the lists may be of less.
type Change struct {
	// Base is the commit before, Head the one after; "" for none.
	Base        string   `json:"base,omitempty"`
	Head        string   `json:"head,omitempty"`
	Branch      string   `json:"branch,omitempty"`
	Commits     []Commit `json:"commits"`
	CommitCount int      `json:"commitCount"`
	// Uncommitted says that there are changes beyond Head.
	Uncommitted bool   `json:"uncommitted,omitempty"`
	Files       []File `json:"files"`
	FileCount   int    `json:"fileCount"`
	Added       int    `json:"added"`
	Deleted     int    `json:"deleted"`
	// Diff is unified; DiffCut says that it is only the beginning. What is in files
	// with Kubernetes' Secrets, which are Hidden, is never in it.
	Diff    string   `json:"diff,omitempty"`
	DiffCut bool     `json:"diffCut,omitempty"`
	Hidden  []string `json:"hidden,omitempty"`
	// Message says it in a sentence.
	Message string `json:"message"`
}

// Empty says that nothing has changed.
func (c Change) Empty() bool { return c.CommitCount == 0 && c.FileCount == 0 }

// Commit commits what the agent left uncommitted in the runner's clone, and tells
// what has changed since Open. A repository that was there stays as it is. summary
// is what the agent says that it did. Nothing that the agent started may run any more.
func (r *Repository) Commit(ctx context.Context, summary string) (Change, error) {
	err := r.renew()
	if err != nil {
		return Change{}, err
	}
	if r.head, err = r.agentHead(ctx); err != nil {
		return Change{}, fmt.Errorf("the agent has broken the repository: %w", err)
	}
	base := r.startTree
	if r.shared {
		base = r.start
	}
	if r.tree, err = r.takeFiles(ctx, base); err != nil {
		return Change{}, err
	}
	clean := false
	if r.head != "" {
		out, err := r.git.run(ctx, r.ours("rev-parse", "--verify", r.head+"^{tree}"))
		if err != nil {
			return Change{}, err
		}
		clean = strings.TrimSpace(out) == r.tree
	}
	if r.shared && !clean {
		if err := r.commit(ctx, summary); err != nil {
			return Change{}, err
		}
		clean = true
	}
	change := Change{Base: r.start, Head: r.head, Uncommitted: !clean && base != r.tree, Commits: []Commit{}, Files: []File{}}
	if r.shared {
		change.Branch = r.options.Branch
	}
	return change, r.describe(ctx, base, &change)
}

// commit makes a commit of the files, and has the working folder's repository be at
// it, as if the agent had made it.
func (r *Repository) commit(ctx context.Context, summary string) error {
	args := []string{"commit-tree", r.tree}
	if r.head != "" {
		args = append(args, "-p", r.head)
	}
	request := r.ours(args...)
	request.input = Message(r.options.Mask(summary), r.options.TaskID)
	out, err := r.git.run(ctx, request)
	if err != nil {
		return err
	}
	r.head = strings.TrimSpace(out)
	if _, err := r.git.run(ctx, r.theirs("update-ref", "-m", "graf-runner: commit", "HEAD", r.head)); err != nil {
		return err
	}
	index, err := os.ReadFile(filepath.Join(r.own(), "index"))
	if err == nil {
		err = os.WriteFile(filepath.Join(r.dir, "index"), index, 0o644) //nolint:gosec // git's own mode
	}
	if err != nil {
		return fmt.Errorf("take over the index: %w", err)
	}
	return nil
}

// describe fills in a change.
func (r *Repository) describe(ctx context.Context, base string, c *Change) error {
	if base == "" { // a clone has a start
		return nil
	}
	for _, step := range []func(context.Context, string, *Change) error{r.listCommits, r.listFiles, r.readDiff} {
		if err := step(ctx, base, c); err != nil {
			return err
		}
	}
	c.Message = fmt.Sprintf("%s, %s changed: +%d −%d lines.", plural(c.CommitCount, "commit"), plural(c.FileCount, "file"), c.Added, c.Deleted)
	return c.fit()
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// listCommits lists the agent's commits, the first ones first.
func (r *Repository) listCommits(ctx context.Context, _ string, c *Change) error {
	if c.Head == "" || c.Head == c.Base {
		return nil
	}
	revisions := []string{c.Head}
	if c.Base != "" {
		revisions = append(revisions, "^"+c.Base)
	}
	count, err := r.git.run(ctx, r.ours(append([]string{"rev-list", "--count"}, revisions...)...))
	if err != nil {
		return err
	}
	if c.CommitCount, err = strconv.Atoi(strings.TrimSpace(count)); err != nil {
		return fmt.Errorf("%w: git rev-list: %w", ErrGit, err)
	}
	// %x1f and %x1e are ASCII's separators of units and records.
	out, err := r.git.run(ctx, r.ours(append([]string{
		"log", "--no-color", "--no-show-signature", "--no-notes", "--encoding=UTF-8", "--topo-order", "--reverse",
		"--skip=" + strconv.Itoa(max(c.CommitCount-maxCommits, 0)), "--max-count=" + strconv.Itoa(maxCommits),
		"--format=%H%x1f%<(300,trunc)%an%x1f%cI%x1f%<(300,trunc)%s%x1e",
	}, revisions...)...))
	if err != nil {
		return err
	}
	for record := range strings.SplitSeq(out, "\x1e") {
		fields := strings.Split(strings.TrimSpace(record), "\x1f")
		if len(fields) != 4 {
			continue // what follows the last, or has separators in it
		}
		at, err := time.Parse(time.RFC3339, fields[2])
		if err != nil {
			continue // a date that no calendar has
		}
		c.Commits = append(c.Commits, Commit{Hash: fields[0], Author: r.text(fields[1]), Time: at, Subject: r.text(fields[3])})
	}
	return nil
}

// text is a short text of the agent's.
func (r *Repository) text(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(strings.TrimSpace(text), ""), "\x00", "")
	return clip(r.options.Mask(text), maxText)
}

// listFiles counts the lines that changed, by files.
func (r *Repository) listFiles(ctx context.Context, base string, c *Change) error {
	request := r.ours("diff-tree", "-r", "--numstat", "-z", "--no-renames", base, r.tree)
	request.limit = 16 << 20 // some 200,000 files
	out, err := r.git.run(ctx, request)
	if err != nil {
		return err
	}
	for record := range strings.SplitSeq(out, "\x00") {
		fields := strings.SplitN(record, "\t", 3)
		if len(fields) != 3 {
			continue // what follows the last
		}
		file := File{Path: r.text(fields[2]), Binary: fields[0] == "-"}
		file.Added, _ = strconv.Atoi(fields[0]) // 0 for a binary file
		file.Deleted, _ = strconv.Atoi(fields[1])
		c.FileCount, c.Added, c.Deleted = c.FileCount+1, c.Added+file.Added, c.Deleted+file.Deleted
		if len(c.Files) < maxFiles {
			c.Files = append(c.Files, file)
		}
	}
	return nil
}

// readDiff reads the text of the change, as much of it as is told.
func (r *Repository) readDiff(ctx context.Context, base string, c *Change) error {
	if c.FileCount == 0 {
		return nil
	}
	hidden, err := r.secretFiles(ctx, base)
	if err != nil {
		return err
	}
	if len(hidden) > maxHidden {
		c.DiffCut = true
		return nil
	}
	args := []string{
		"diff-tree", "-r", "-p", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "-l200", base, r.tree, "--", ".",
	}
	for _, file := range hidden {
		args = append(args, ":(exclude,literal,top)"+file)
		if len(c.Hidden) < maxFiles {
			c.Hidden = append(c.Hidden, r.text(file))
		}
	}
	request := r.ours(args...)
	request.limit = 2 * maxDiff
	out, err := r.git.run(ctx, request)
	if err != nil {
		return err
	}
	c.Diff, c.DiffCut = out, len(out) >= request.limit
	if c.DiffCut { // a secret that is cut through would not be known as one
		c.Diff = wholeLines(c.Diff, len(c.Diff)-1)
	}
	c.Diff = r.options.Mask(strings.ReplaceAll(strings.ToValidUTF8(c.Diff, "�"), "\x00", ""))
	c.cutDiff(maxDiff)
	return nil
}

// secretManifest is where a Kubernetes Secret begins, in YAML or JSON, for git grep.
//
//nolint:gosec // a pattern, no secret
const secretManifest = `"?kind"?[[:space:]]*:[[:space:]]*["']?Secret(List)?["']?[[:space:]]*(,|#|$|})`

// secretFiles are those with Secrets, before or after. Their values are no secrets
// of the runner's, and so no mask knows them.
func (r *Repository) secretFiles(ctx context.Context, base string) ([]string, error) {
	seen := map[string]bool{}
	var files []string
	for _, tree := range []string{base, r.tree} {
		out, err := r.git.run(ctx, r.ours("grep", "-l", "-z", "-I", "--no-color", "--no-textconv", "-E", "-e", secretManifest, tree, "--"))
		if err != nil && exitCode(err) != 1 { // 1 is for no match
			return nil, err
		}
		for name := range strings.SplitSeq(out, "\x00") {
			name = strings.TrimPrefix(name, tree+":")
			if name != "" && !seen[name] {
				seen[name] = true
				files = append(files, name)
			}
		}
	}
	return files, nil
}

// wholeLines is the beginning of a text, of at most so many bytes.
func wholeLines(text string, most int) string {
	text = text[:max(min(len(text), most), 0)]
	return text[:strings.LastIndexByte(text, '\n')+1]
}

func (c *Change) cutDiff(most int) {
	if len(c.Diff) > most {
		c.Diff, c.DiffCut = wholeLines(c.Diff, most), true
	}
}

// fit shortens what Graf would not take. Control characters take six bytes in JSON.
func (c *Change) fit() error {
	for {
		text, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("encode the change: %w", err)
		}
		switch {
		case len(text) <= maxContent:
			return nil
		case len(c.Diff) > 0:
			c.cutDiff(len(c.Diff) / 2)
		default:
			c.Files, c.Hidden, c.Commits = c.Files[:len(c.Files)/2], nil, c.Commits[:len(c.Commits)/2]
		}
	}
}
