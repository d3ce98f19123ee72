package runner_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	_ "github.com/graf-run/graf/runner" // the program is made of it: its changes have the tests run again
	graf "github.com/graf-run/graf/sdk/go"
	"github.com/graf-run/graf/shared/responsestest"
)

// gitToken is what the repository asks for; nobody may read it again.
const gitToken = "git-token-0123456789abcdef"

// startCommand is a task that a shell script does.
func startCommand(t *testing.T, script string, environment map[string]string, change func(*graf.TaskSubmission), flags ...string) *run {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	submission := graf.TaskSubmission{Prompt: "Change the shop " + uuid.NewString(), Agent: graf.Agent{
		Command: append(append([]string{program, "--folder", folder}, flags...), "--", "sh", "-ec", script), Env: environment,
	}}
	if change != nil {
		change(&submission)
	}
	r := submit(t, submission)
	r.folder = folder
	return r
}

// A command that tells Graf by itself what it used is stopped when the budget is spent, as the runner hears from Graf.
func TestCommandRunsOutOfBudget(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		budget graf.Budget
		usage  string
		reason string
	}{
		"tokens":  {graf.Budget{Tokens: new(int64(100))}, `{"inputTokens": 70, "outputTokens": 30}`, "100 of 100 tokens"},
		"dollars": {graf.Budget{USD: new(0.5)}, `{"usd": 0.75}`, "$0.7500 of $0.5000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const script = `curl -fsS --json "{\"eventId\": \"u\", \"eventType\": \"usage\", \"content\": $USAGE}" ` +
				`-H "Authorization: Bearer $GRAF_CALLBACK_TOKEN" "$GRAF_CALLBACK_URL"; sleep 600`
			budgeted := func(s *graf.TaskSubmission) { s.Budget, s.MaxAttempts = &c.budget, new(3) }
			r := startCommand(t, script, map[string]string{"USAGE": c.usage}, budgeted, "--heartbeat", "200ms")
			task, events := r.end(t, graf.TaskStatusFailed)
			if task.Failure == nil || task.Failure.Class != graf.FailureClassBudget || !strings.Contains(task.Failure.Reason, c.reason) || len(task.Attempts) != 1 {
				t.Errorf("failure %+v after %d attempts", task.Failure, len(task.Attempts))
			}
			has(t, events, graf.EventTypeFailed, `"class":"budget"`, c.reason)
		})
	}
}

// Each runner of a task has events of its own, however many its agent starts.
func TestRunnersOfOneTask(t *testing.T) {
	t.Parallel()
	r := startCommand(t, `for word in alpha beta; do "$RUNNER" --folder "$PWD" -- sh -c "echo $word; $RUNNER -- echo gamma"; done`,
		map[string]string{"RUNNER": program}, nil)
	_, events := r.end(t, graf.TaskStatusSucceeded)
	told := map[string]int{}
	for _, event := range events {
		for _, word := range []string{"alpha", "beta", "gamma"} {
			if event.EventType == graf.EventTypeLog {
				told[word] += strings.Count(plain(event.Content), word)
			}
		}
	}
	// The platform's runner and the test's tell of what those within them write.
	if want := map[string]int{"alpha": 3, "beta": 3, "gamma": 8}; !maps.Equal(told, want) {
		t.Errorf("told %v, not %v", told, want)
	}
}

// remembered is what memory has of a task.
func (r *run) remembered(t *testing.T, text string) string {
	t.Helper()
	results, err := r.client.SearchMemory(r.ctx, graf.MemorySearch{Text: text, Tags: []graf.Tag{r.tag}, Limit: new(50)})
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for _, result := range results.Results {
		if result.Source.TaskID == r.id {
			found.WriteString(result.Snippet + "\n")
		}
	}
	return found.String()
}

// A manifest that the agent changes in its folder is the task's diff, and remembered.
func TestManifestsAreTheDiff(t *testing.T) {
	t.Parallel()
	name := "shop-" + uuid.NewString()[:8]
	submitted := func(s *graf.TaskSubmission) {
		for _, manifest := range []string{
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"` + name + `","namespace":"web"},"spec":{"replicas":1}}`,
			`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"` + name + `","namespace":"web"},"stringData":{"plain":"old-hidden"}}`,
		} {
			s.Manifests = append(s.Manifests, graf.Manifest(manifest))
		}
	}
	r := startCommand(t, `sed -i 's/replicas: 1/replicas: 7/' in/*deployment*`, nil, submitted, "--manifests", "in")
	task, events := r.end(t, graf.TaskStatusSucceeded)
	if task.Diff == nil || !strings.Contains(task.Diff.Unified, "-  replicas: 1\n+  replicas: 7") || strings.Contains(task.Diff.Unified, "kind: Secret") {
		t.Fatalf("the diff is %+v\n%s", task.Diff, told(events))
	}
	if found := r.remembered(t, name+" replicas 7"); !strings.Contains(found, "replicas") {
		t.Errorf("memory has %q", found)
	}
	changed := startCommand(t, `sed -i 's/sha256-salted:.*/new-hidden/' in/*secret*`, nil, submitted, "--manifests", "in")
	task, events = changed.end(t, graf.TaskStatusSucceeded)
	if task.Diff == nil || !strings.Contains(task.Diff.Unified, "sha256-salted:") || strings.Contains(told(events)+task.Diff.Unified, "new-hidden") {
		t.Errorf("the diff is %+v\n%s", task.Diff, told(events))
	}
	untouched := startCommand(t, `true`, nil, submitted)
	if task, _ = untouched.end(t, graf.TaskStatusSucceeded); task.Diff != nil && task.Diff.Unified != "" {
		t.Errorf("the diff is %+v", task.Diff)
	}
}

// A task clones a repository, and its work is pushed and proposed; the forge is a
// local server that answers as GitHub's documentation has it.
func TestRepositoryIsPushed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	server := serveGit(t, folder)
	flags := []string{"--repository", server + "/owner/shop.git", "--pull-request", "--forge", "github", "--forge-url", server + "/api"}
	environment := map[string]string{"GIT_TOKEN": gitToken, "PATH": os.Getenv("PATH")}
	r := startCommand(t, `
		test -z "$GIT_TOKEN"
		! cat /proc/$PPID/environ || exit 9
		echo two >> README.md`, environment, unprivileged, flags...)
	task, events := r.end(t, graf.TaskStatusSucceeded)
	branch := "graf/" + r.id.String()
	has(t, events, graf.EventTypeProgress, `"kind":"changes"`, `"commitCount":1`, `+two`, `"author":"Graf"`)
	has(t, events, graf.EventTypeProgress, `"kind":"push"`, branch)
	has(t, events, graf.EventTypeProgress, `"kind":"pullRequest"`, "https://forge.example/owner/shop/pull/1")
	if task.Diff == nil || !strings.Contains(task.Diff.Unified, "+two") || strings.Contains(told(events), gitToken) {
		t.Errorf("the diff is %+v", task.Diff)
	}
	if out, err := exec.Command("git", "-C", filepath.Join(folder, "owner", "shop.git"), "show", branch+":README.md").Output(); string(out) != "one\ntwo\n" {
		t.Errorf("%q, %v", out, err)
	}
	environment["GIT_TOKEN"] = "another-" + gitToken
	refused := startCommand(t, `true`, environment, func(s *graf.TaskSubmission) { s.MaxAttempts = new(3) }, flags...)
	task, _ = refused.end(t, graf.TaskStatusFailed)
	if task.Failure == nil || task.Failure.Class != graf.FailureClassAuthentication || len(task.Attempts) != 1 {
		t.Errorf("failure %+v after %d attempts", task.Failure, len(task.Attempts))
	}
	lost := startCommand(t, `touch new; exit 3`, map[string]string{"GIT_TOKEN": gitToken, "PATH": os.Getenv("PATH")}, nil, flags...)
	_, events = lost.end(t, graf.TaskStatusFailed)
	has(t, events, graf.EventTypeProgress, `"kind":"changes"`, `"fileCount":1`)
	if strings.Contains(told(events), `"kind":"push"`) {
		t.Error("the work of an agent that failed was pushed")
	}
}

// What the agent says at its end is the commit and the pull request, and completed
// tells of both.
func TestCodexProposes(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	server := serveGit(t, folder)
	r := start(t, func(s *graf.TaskSubmission) {
		s.Agent.Repository = graf.Repository{
			URL: server + "/owner/shop.git", Branch: "topic", PullRequest: true, Forge: graf.RepositoryForgeGitea, ForgeURL: server + "/api",
		}
		s.Agent.Env["GIT_TOKEN"] = gitToken
	}, responsestest.Executes("echo hello > hello.txt; git log --oneline | wc -l").Uses(tokens(100)),
		responsestest.Says("Put a greeting there.").Uses(tokens(200)))
	_, events := r.end(t, graf.TaskStatusSucceeded)
	has(t, events, graf.EventTypeCompleted, `"pullRequest":"https://forge.example/owner/shop/pull/1"`, `"branch":"topic"`, `"commit":"`)
	has(t, events, graf.EventTypeProgress, `"kind":"changes"`, `"subject":"Put a greeting there."`)
	out, err := exec.Command("git", "-C", filepath.Join(folder, "owner", "shop.git"), "show", "topic:hello.txt").Output()
	if string(out) != "hello\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// unprivileged has a task run as containers do: root without capabilities, if root.
func unprivileged(s *graf.TaskSubmission) {
	if os.Geteuid() == 0 {
		s.Agent.Command = append([]string{"setpriv", "--bounding-set", "-all", "--inh-caps", "-all"}, s.Agent.Command...)
	}
}

// serveGit serves a repository owner/shop.git, and pull requests of it.
func serveGit(t *testing.T, folder string) string {
	t.Helper()
	bare, work := filepath.Join(folder, "owner", "shop.git"), t.TempDir()
	path, err := exec.Command("sh", "-ec", `
		export GIT_CONFIG_GLOBAL=/dev/null; cd "$1"
		git init --quiet --bare --initial-branch=main "$0"; git -C "$0" config http.receivepack true
		git clone --quiet "$0" . 2>/dev/null; echo one > README.md; git add README.md
		git -c user.name=Ann -c user.email=ann@graf.invalid commit --quiet -m One; git push --quiet origin HEAD:main
		printf %s "$(git --exec-path)/git-http-backend"`, bare, work).Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: string(path), Env: []string{"GIT_PROJECT_ROOT=" + folder, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=graf"},
		Stderr: io.Discard, InheritEnv: []string{"PATH"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		_, password, _ := request.BasicAuth()
		switch {
		case request.URL.Path == "/api/repos/owner/shop/pulls" && strings.HasSuffix(request.Header.Get("Authorization"), gitToken):
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(map[string]any{"number": 1, "state": "open", "html_url": "https://forge.example/owner/shop/pull/1"})
		case password == gitToken:
			backend.ServeHTTP(w, request)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
