package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graf-run/graf/runner/mask"
)

const (
	task  = "0190b5a0-0000-7000-8000-000000000000"
	token = "forge-token-0123456789"
)

// TestMain is the credential helper, too, which git starts, and what is started at a
// terminal.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == atTerminal {
		os.Exit(openAtTerminal(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 4 && os.Args[1] == HelperName {
		if err := Credential(AskRunner, os.Args[2], os.Args[3], os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// remote is a repository that git itself serves by HTTP, to those who know the token.
type remote struct {
	t      *testing.T
	url    string
	folder string
	// cut is how many answers to fetches end in the middle; requests counts all.
	cut, requests atomic.Int32
	// asked is called for each request, while git waits for the answer.
	asked func()
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	r := &remote{t: t, folder: filepath.Join(t.TempDir(), "owner", "name.git")}
	r.must("init", "--quiet", "--bare", "--initial-branch=main", r.folder)
	r.must("-C", r.folder, "config", "http.receivepack", "true")
	exec, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(exec)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + filepath.Dir(filepath.Dir(r.folder)), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=graf"},
		Stderr: io.Discard, InheritEnv: []string{"PATH"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.requests.Add(1)
		if r.asked != nil {
			r.asked()
		}
		if user, password, _ := request.BasicAuth(); password != token || user != "git" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "upload-pack") && r.cut.Add(-1) >= 0 {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, "000")
			return // the server closes a connection that is short
		}
		backend.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/owner/name.git"
	r.commit("main", map[string]string{"README.md": "# Shop\n", "app/main.txt": "one\ntwo\n"})
	return r
}

// must runs git as a person would.
func (r *remote) must(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@graf.invalid",
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@graf.invalid")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit has somebody else push files to a branch.
func (r *remote) commit(branch string, files map[string]string) string {
	r.t.Helper()
	clone := r.t.TempDir()
	r.must("clone", "--quiet", r.folder, clone)
	if r.must("-C", r.folder, "branch", "--list", branch) != "" {
		r.must("-C", clone, "checkout", "--quiet", branch)
	} else {
		r.must("-C", clone, "checkout", "--quiet", "-B", branch)
	}
	write(r.t, clone, files)
	r.must("-C", clone, "add", "--all")
	r.must("-C", clone, "commit", "--quiet", "-m", "Somebody else's")
	r.must("-C", clone, "push", "--quiet", "origin", branch)
	return r.must("-C", clone, "rev-parse", "HEAD")
}

// read is a file of a branch, as the remote has it.
func (r *remote) read(branch, name string) string {
	r.t.Helper()
	return r.must("-C", r.folder, "show", branch+":"+name)
}

func write(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *remote) options() Options {
	program, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	environment := append(os.Environ(), "GIT_TOKEN="+token)
	return Options{
		Config: Config{URL: r.url, Push: true, Timeout: time.Minute}, Folder: filepath.Join(r.t.TempDir(), "work"), TaskID: task,
		Environment: environment, Program: program, Temporary: r.t.TempDir(), Mask: mask.FromEnvironment(environment).Text,
		Warn: func(message string) { r.t.Log(message) },
	}
}

func open(t *testing.T, o Options) *Repository {
	t.Helper()
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func changed(t *testing.T, r *Repository, summary string) Change {
	t.Helper()
	change, err := r.Commit(t.Context(), summary)
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func push(t *testing.T, r *Repository) bool {
	t.Helper()
	pushed, err := r.Push(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pushed
}

// An agent commits once, leaves something uncommitted, and all of it is pushed.
func TestWork(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	o := far.options()
	r := open(t, o)
	write(t, o.Folder, map[string]string{"app/main.txt": "one\n2\n"})
	far.must("-C", o.Folder, "commit", "--quiet", "--all", "-m", "Count\n\nin figures")
	write(t, o.Folder, map[string]string{"notes.md": "The token is " + token + "\n"})
	change := changed(t, r, "Say what was done.\n\nGraf-Task: another\n\x1b[31mred")
	if change.CommitCount != 2 || change.Commits[0].Subject != "Count" || change.Commits[1].Author != "Graf" ||
		change.Commits[1].Subject != "Say what was done." || change.FileCount != 2 || change.Added != 2 || change.Deleted != 1 ||
		change.Uncommitted || change.Message != "2 commits, 2 files changed: +2 −1 lines." {
		t.Errorf("%+v", change)
	}
	if !strings.Contains(change.Diff, "-two\n+2\n") || !strings.Contains(change.Diff, "+The token is [redacted]") ||
		strings.Contains(change.Diff, token) {
		t.Error(change.Diff)
	}
	if !push(t, r) || far.read("graf/"+task, "app/main.txt") != "one\n2" {
		t.Error("it was not pushed")
	}
	if message := far.must("-C", far.folder, "log", "-1", "--format=%(trailers)", "graf/"+task); message != "Graf-Task: "+task {
		t.Errorf("trailers %q", message)
	}
	if status := far.must("-C", o.Folder, "status", "--porcelain"); status != "" || far.must("-C", o.Folder, "rev-parse", "HEAD") != r.Head() {
		t.Errorf("the working folder is left with %q", status)
	}
	if push(t, r) {
		t.Error("it was pushed again")
	}
	// The token is nowhere but where the agent wrote it.
	out, _ := exec.Command("grep", "-rl", token, filepath.Join(o.Folder, ".git", "config"), r.state).Output()
	if len(out) > 0 {
		t.Errorf("the token is in %s", out)
	}
	// Another attempt goes on from the branch.
	again := far.options()
	second := open(t, again)
	if _, err := os.Stat(filepath.Join(again.Folder, "notes.md")); err != nil || second.start != r.Head() {
		t.Error("the second attempt does not begin with the first one's work")
	}
	if change := changed(t, second, ""); !change.Empty() || push(t, second) {
		t.Errorf("%+v", change)
	}
}

func TestEmptyChange(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	r := open(t, far.options())
	if change := changed(t, r, "Nothing to do."); !change.Empty() || change.Head != change.Base {
		t.Errorf("%+v", change)
	}
	if push(t, r) || far.must("-C", far.folder, "branch", "--list", "graf/*") != "" {
		t.Error("something was pushed")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct {
		change func(*Options)
		want   error
		says   string
	}{
		"wrong token":    {func(o *Options) { o.Environment = append(os.Environ(), "GIT_TOKEN=wrong-token") }, ErrAuthentication, "Authentication failed"},
		"no token":       {func(o *Options) { o.Environment = os.Environ() }, ErrAuthentication, ""},
		"away":           {func(o *Options) { o.URL = gone.URL + "/owner/name" }, ErrInfrastructure, ""},
		"too slow":       {func(o *Options) { o.Timeout = time.Millisecond }, ErrInfrastructure, "more than 1ms"},
		"no such branch": {func(o *Options) { o.Revision = "no-such" }, ErrGit, `"no-such"`},
		"not empty":      {func(o *Options) { write(t, o.Folder, map[string]string{"mine": "stays"}) }, ErrGit, "not empty"},
		"another clone": {func(o *Options) {
			o.Folder = t.TempDir()
			far.must("clone", "--quiet", far.folder, o.Folder)
		}, ErrGit, "not empty"},
		"password in the URL": {func(o *Options) { o.URL = "https://me:" + token + "@host/a/b" }, ErrConfig, "GIT_TOKEN"},
		"file system":         {func(o *Options) { o.URL = "file://" + far.folder }, ErrConfig, "must begin"},
		"option":              {func(o *Options) { o.URL = "--upload-pack=touch" }, ErrConfig, "must begin"},
		"helper":              {func(o *Options) { o.URL = "ext::sh -c touch" }, ErrConfig, ""},
		"revision option":     {func(o *Options) { o.Revision = "--exec" }, ErrConfig, "--exec"},
		"branch":              {func(o *Options) { o.Branch = "a..b" }, ErrConfig, "a..b"},
		"unknown forge":       {func(o *Options) { o.PullRequest = true }, ErrConfig, "which forge"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := far.options()
			c.change(&o)
			_, err := Open(t.Context(), o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), token) {
				t.Errorf("got %v, want %v that says %q", err, c.want, c.says)
			}
			if left, _ := os.ReadDir(o.Temporary); len(left) > 0 {
				t.Errorf("left is %v", left)
			}
		})
	}
}

func TestDiverged(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	far.commit("topic", map[string]string{"topic": "1"})
	o := far.options()
	o.Branch, o.Revision = "topic", "main"
	r := open(t, o)
	write(t, o.Folder, map[string]string{"mine": "1"})
	theirs := far.commit("topic", map[string]string{"topic": "2"})
	changed(t, r, "Mine.")
	if _, err := r.Push(t.Context()); !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "topic") {
		t.Errorf("got %v", err)
	}
	if far.must("-C", far.folder, "rev-parse", "topic") != theirs {
		t.Error("their work is lost")
	}
}

// While git has the token, it is in no environment and no argument, which whoever is
// the same user could read.
func TestTokenIsNotShown(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	var shown atomic.Int32
	far.asked = func() {
		for _, name := range []string{"environ", "cmdline"} {
			files, _ := filepath.Glob("/proc/[0-9]*/" + name) // no error for this pattern
			for _, file := range files {
				if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), token) { // it may have ended
					shown.Add(1)
				}
			}
		}
	}
	o := far.options()
	r := open(t, o)
	write(t, o.Folder, map[string]string{"new": "1"})
	changed(t, r, "New.")
	if !push(t, r) || far.requests.Load() < 4 {
		t.Errorf("%d requests", far.requests.Load())
	}
	if shown.Load() > 0 {
		t.Errorf("the token is shown %d times", shown.Load())
	}
}

// A connection is cut while the clone is under way: once is survived, always is not;
// what was left then is gone on with.
func TestClonesCutOff(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	far.cut.Store(1)
	open(t, far.options())
	far.cut.Store(1000)
	o := far.options()
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrInfrastructure) {
		t.Errorf("got %v", err)
	}
	far.cut.Store(0)
	open(t, o)
	if _, err := os.Stat(filepath.Join(o.Folder, "README.md")); err != nil {
		t.Error(err)
	}
}

// A retry of the same attempt finds the work of the one before.
func TestRetry(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	o := far.options()
	first := open(t, o)
	write(t, o.Folder, map[string]string{"begun": "yes"})
	second := open(t, o)
	if change := changed(t, second, ""); change.Base != first.start || change.FileCount != 1 || change.CommitCount != 1 {
		t.Errorf("%+v", change)
	}
}

func TestRevisions(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	first := far.must("-C", far.folder, "rev-parse", "main")
	far.must("-C", far.folder, "-c", "user.name=a", "-c", "user.email=b", "tag", "-a", "v1", "-m", "one", "main")
	second := far.commit("main", map[string]string{"more": "1"})
	third := far.commit("side", map[string]string{"side": "1"})
	for revision, want := range map[string]struct{ commit, target string }{
		"": {second, "main"}, "v1": {first, "main"}, "side": {third, "side"}, first: {first, "main"},
	} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			o := far.options()
			o.Revision = revision
			if r := open(t, o); r.start != want.commit || r.target != want.target {
				t.Errorf("got %s for %s, want %+v", r.start, r.target, want)
			}
		})
	}
}

// hostile are settings of git that run a command, and send to a thief.
func hostile(command, thief string) string {
	return strings.NewReplacer("COMMAND", command, "THIEF", thief).Replace(`
[core]
	fsmonitor = COMMAND
	hooksPath = .git/hooks
	sshCommand = COMMAND
	pager = COMMAND
	gitProxy = COMMAND
	askPass = COMMAND
[credential]
	helper = !COMMAND
[filter "evil"]
	clean = COMMAND
	smudge = COMMAND
	required = true
[diff "evil"]
	command = COMMAND
	textconv = COMMAND
[diff]
	external = COMMAND
[url "THIEF/"]
	insteadOf = http://
	pushInsteadOf = http://
[remote "origin"]
	url = THIEF
	pushurl = THIEF
[http]
	proxy = THIEF
	sslVerify = false
[gpg]
	program = COMMAND
[commit]
	gpgSign = true
`)
}

// writeHooks has all hooks that git may come to run a command.
func writeHooks(t *testing.T, folder, command string) {
	t.Helper()
	for _, hook := range []string{"pre-commit", "commit-msg", "pre-push", "reference-transaction", "post-checkout", "post-index-change"} {
		write(t, folder, map[string]string{hook: "#!/bin/sh\n" + command + "\n"})
		if err := os.Chmod(filepath.Join(folder, hook), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// appendTo appends to a file, which may not be there.
func appendTo(t *testing.T, name, text string) {
	t.Helper()
	before, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	write(t, filepath.Dir(name), map[string]string{filepath.Base(name): string(before) + text})
}

// writeState writes what it can into folders that the runner has of its own.
func writeState(t *testing.T, o Options, command, thief string) {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(o.Temporary, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		const all = "* filter=evil diff=evil merge=evil\n"
		for _, config := range []string{"git/config", "git/config.worktree", ".gitconfig", ".config/git/config"} {
			appendTo(t, filepath.Join(folder, config), hostile(command, thief))
		}
		write(t, folder, map[string]string{
			"git/info/attributes": all, ".config/git/attributes": all, "git/info/exclude": "*\n", ".config/git/ignore": "*\n",
			"git/HEAD": "ref: refs/heads/evil\n",
		})
		writeHooks(t, filepath.Join(folder, "git", "hooks"), command)
	}
}

// Whatever is in the repository, or the agent puts there or into the runner's own
// folder, no program of it is run by the runner, and nothing gets the token.
func TestHostileRepository(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		t.Errorf("the thief is asked %s %v", request.URL, request.Header)
	}))
	t.Cleanup(thief.Close)
	far.commit("main", map[string]string{
		".gitattributes": "* filter=evil diff=evil merge=evil\n", ".gitmodules": "[submodule \"s\"]\n\tpath = s\n\turl = " + thief.URL + "/s\n",
	})
	for name, cloned := range map[string]bool{"clone": true, "found": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := far.options()
			if !cloned {
				o.Config = Config{Timeout: time.Minute}
				far.must("clone", "--quiet", far.folder, o.Folder)
			}
			r := open(t, o)
			mark := filepath.Join(t.TempDir(), "mark")
			command := "touch " + mark
			write(t, o.Folder, map[string]string{"new": "1", ".git/config": hostile(command, thief.URL)})
			writeHooks(t, filepath.Join(o.Folder, ".git", "hooks"), command)
			writeState(t, o, command, thief.URL)
			if change := changed(t, r, "New."); change.FileCount != 1 {
				t.Errorf("%+v", change)
			}
			if cloned && !push(t, r) {
				t.Error("it was not pushed")
			}
			if _, err := os.Stat(mark); err == nil {
				t.Error("a program of the repository was run")
			}
			// A repository that is broken is an error.
			if err := os.RemoveAll(filepath.Join(o.Folder, ".git")); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Commit(t.Context(), ""); !errors.Is(err, ErrGit) || !strings.Contains(err.Error(), "broken") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A commit that is not there is an error: it is not fetched from where the agent says,
// by ssh, whose configuration may be the agent's.
func TestNothingIsFetchedAfterTheAgent(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	o := far.options()
	mark := filepath.Join(t.TempDir(), "mark")
	o.Environment = append(o.Environment, "GIT_SSH_COMMAND=touch "+mark+"; false")
	r := open(t, o)
	const config = `
[core]
	repositoryformatversion = 1
[extensions]
	partialClone = origin
[remote "origin"]
	promisor = true
	url = ssh://thief.invalid/name
`
	write(t, o.Folder, map[string]string{".git/config": config, ".git/HEAD": strings.Repeat("1", 40) + "\n"})
	if _, err := r.Commit(t.Context(), ""); !errors.Is(err, ErrGit) || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it was asked for")
	}
}

// The git that was on the path before the agent is run after it, too.
func TestGitIsTheOneBefore(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("PATH", folder+string(filepath.ListSeparator)+os.Getenv("PATH"))
	far := newRemote(t)
	o := far.options()
	r := open(t, o)
	mark := filepath.Join(t.TempDir(), "mark")
	write(t, folder, map[string]string{"git": "#!/bin/sh\ntouch " + mark + "\nexit 1\n"})
	if err := os.Chmod(filepath.Join(folder, "git"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, o.Folder, map[string]string{"new": "1"})
	if change := changed(t, r, "New."); change.FileCount != 1 || !push(t, r) {
		t.Errorf("%+v", change)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the agent's git was run")
	}
}

// The runner has nothing of its own in the file system while the agent works in a
// clone, and knows nevertheless what was there: what is excluded, and submodules that
// have no files.
func TestStateIsKept(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	clone := t.TempDir()
	far.must("clone", "--quiet", far.folder, clone)
	link := strings.Repeat("1", 40)
	far.must("-C", clone, "update-index", "--add", "--cacheinfo", "160000,"+link+",sub")
	far.must("-C", clone, "commit", "--quiet", "-m", "A submodule")
	far.must("-C", clone, "push", "--quiet", "origin", "HEAD:main")
	o := far.options()
	o.Excluded = "in"
	r := open(t, o)
	if left, err := os.ReadDir(o.Temporary); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	write(t, o.Folder, map[string]string{"in/deployment.yaml": "kind: Deployment\n", "new": "1"})
	for range 2 { // another one begins as the first did
		if change := changed(t, r, ""); change.FileCount != 1 || change.Files[0].Path != "new" || change.CommitCount != 1 {
			t.Errorf("%+v", change)
		}
	}
	if !push(t, r) || !strings.Contains(far.must("-C", far.folder, "ls-tree", "graf/"+task), link) {
		t.Error("the submodule is gone")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(o.Temporary); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// A repository that was there is looked at, and left as it is.
func TestFound(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	o := far.options()
	o.Config, o.Folder = Config{Timeout: time.Minute}, t.TempDir()
	if r, err := Open(t.Context(), o); r != nil || err != nil {
		t.Fatalf("no repository is %v, %v", r, err)
	}
	far.must("clone", "--quiet", far.folder, o.Folder)
	write(t, o.Folder, map[string]string{"before": "not the agent's\n", "README.md": "# Before\n"})
	status := far.must("-C", o.Folder, "status", "--porcelain")
	r := open(t, o)
	if change := changed(t, r, ""); !change.Empty() {
		t.Errorf("%+v", change)
	}
	write(t, o.Folder, map[string]string{"before": "not the agent's\nbut this\n"})
	change := changed(t, r, "")
	if change.FileCount != 1 || change.Added != 1 || change.CommitCount != 0 || !change.Uncommitted || strings.Contains(change.Diff, "# Before") {
		t.Errorf("%+v", change)
	}
	if now := far.must("-C", o.Folder, "status", "--porcelain"); now != status {
		t.Errorf("the status was\n%s\nand is\n%s", status, now)
	}
	empty := o
	empty.Folder = t.TempDir()
	far.must("init", "--quiet", empty.Folder)
	r = open(t, empty)
	write(t, empty.Folder, map[string]string{"first": "1\n"})
	if change := changed(t, r, ""); change.FileCount != 1 || change.Base != "" || change.Head != "" {
		t.Errorf("%+v", change)
	}
}

// What git cannot store, or only as a link to another repository, does not keep the
// rest from being pushed, and is told of.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	const nested = `git init --quiet sub; echo 1 > sub/file; git -C sub add file; git -C sub commit --quiet -m Nested; `
	for name, c := range map[string]struct {
		script, pushed, warned string
		found                  bool
	}{
		"nothing":                       {"true", "", "", false},
		"a repository without a commit": {"git init --quiet sub; echo 1 > sub/file", "", "'sub/' does not have a commit", false},
		"the same in one that is found": {"git init --quiet sub; echo 1 > sub/file", "", "'sub/' does not have a commit", true},
		"a name that git refuses":       {"mkdir sub; echo 1 > sub/git~1", "", "invalid path 'sub/git~1'", false},
		"a repository":                  {nested, "", "sub is a git repository of its own, and left out", false},
		"a repository in one found":     {nested, "", "sub is a git repository of its own, and left out", true},
		"a repository that is added":    {nested + "git add .", "", "left out", false},
		"a repository, committed":       {nested + "git add .; git commit -qm Link", "160000", "sub is a git repository of its own, and committed", false},
		"a submodule":                   {nested + `printf '[submodule "s"]\n\tpath = sub\n\turl = https://host.invalid/s\n' > .gitmodules`, "160000", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far := newRemote(t)
			o := far.options()
			var warned strings.Builder
			o.Warn = func(message string) { warned.WriteString(message + "\n") }
			if c.found {
				o.Config = Config{Timeout: time.Minute}
				far.must("clone", "--quiet", far.folder, o.Folder)
			}
			r := open(t, o)
			far.must("-C", o.Folder, "-c", "alias.run=!sh -ec '"+strings.ReplaceAll(c.script, "'", `'\''`)+"'", "run")
			write(t, o.Folder, map[string]string{"new": "1"})
			change := changed(t, r, "")
			if (c.warned == "") != (warned.Len() == 0) || !strings.Contains(warned.String(), c.warned) {
				t.Errorf("warned of %q", warned.String())
			}
			if c.found {
				if change.FileCount != 1 || !change.Uncommitted {
					t.Errorf("%+v", change)
				}
				return
			}
			if !push(t, r) || far.read(r.Branch(), "new") != "1" {
				t.Error("the rest was not pushed")
			}
			link, _, _ := strings.Cut(far.must("-C", far.folder, "ls-tree", r.Branch(), "sub"), " ")
			if link != c.pushed {
				t.Errorf("pushed is %q", link)
			}
		})
	}
}

// What a change tells is bounded, and has no Secrets' values.
func TestBounds(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	o := far.options()
	r := open(t, o)
	files := map[string]string{
		"secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  anything: hidden-value\n",
		"list.json":   `{"apiVersion":"v1","kind":"List","items":[{"kind":"Secret","data":{"a":"aGlkZGVuLXZhbHVl"}}]}`,
		"huge.txt":    strings.Repeat("\x01 a line of a huge file\n", 50_000),
		"binary":      "\x00\x01\xff",
		"latin1.txt":  "caf\xe9\n",
	}
	for i := range 500 {
		files[fmt.Sprintf("many/%d %s", i, strings.Repeat("ä", 100))] = "x\n"
	}
	write(t, o.Folder, files)
	change := changed(t, r, strings.Repeat("Many words. ", 2000))
	if !change.DiffCut || change.FileCount != len(files) || len(change.Files) > maxFiles || change.Added < 50_500 {
		t.Errorf("%d files, %d listed, %d lines", change.FileCount, len(change.Files), change.Added)
	}
	if len(change.Hidden) != 2 || strings.Contains(change.Diff, "hidden-value") || strings.Contains(change.Diff, "aGlkZGVuLXZhbHVl") {
		t.Errorf("hidden are %q", change.Hidden)
	}
	if err := change.fit(); err != nil || len(change.Diff) > maxDiff || len(change.Diff) < 1000 || !strings.HasSuffix(change.Diff, "\n") {
		t.Errorf("%v, %d bytes of diff", err, len(change.Diff))
	}
	if subject := []rune(change.Commits[0].Subject); len(subject) > maxSubject {
		t.Errorf("subject of %d letters", len(subject))
	}
}

// A search that failed has not found that there are no Secrets, whatever git says.
func TestSecretsAreNotSought(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	r := open(t, far.options())
	changed(t, r, "")
	for base, want := range map[string]int{r.start: -1, "exit status 1": 128} {
		if _, err := r.secretFiles(t.Context(), base); exitCode(err) != want {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"GIT_USERNAME": "me", "GIT_TOKEN": "secret"}
	for name, c := range map[string]struct{ operation, asked, want string }{
		"asked":         {"get", "protocol=https\nhost=forge.example\n\n", "username=me\npassword=secret\n"},
		"another host":  {"get", "protocol=https\nhost=thief.example\n", ""},
		"without TLS":   {"get", "protocol=http\nhost=forge.example\n", ""},
		"nothing to do": {"store", "protocol=https\nhost=forge.example\n", ""},
	} {
		var out strings.Builder
		get := func(name string) string { return environment[name] }
		if err := Credential(get, "https://forge.example", c.operation, strings.NewReader(c.asked), &out); err != nil || out.String() != c.want {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
}

func TestWithoutCredentials(t *testing.T) {
	t.Parallel()
	if got := WithoutCredentials([]string{"A=1", "GIT_TOKEN=x", "GIT_USERNAME=y", "GIT_TOKENS=z"}); strings.Join(got, " ") != "A=1 GIT_TOKENS=z" {
		t.Error(got)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	far := newRemote(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("as the test wants it"))
	if _, err := Open(ctx, far.options()); err == nil || !strings.Contains(err.Error(), "as the test wants it") {
		t.Errorf("got %v", err)
	}
}
