package launch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graf-run/graf/shared/api"
)

func TestCommand(t *testing.T) {
	t.Parallel()
	brought := ExecutionConfig{
		Image: "agent", Images: map[string]string{"codex": "codex-image"}, RunnerImage: "runner", GracePeriod: 10 * time.Second,
	}
	there := ExecutionConfig{Image: "agent", RunnerImage: "runner", RunnerPath: "/bin/graf-runner", GracePeriod: time.Second}
	for name, test := range map[string]struct {
		config             ExecutionConfig
		agent              api.Agent
		command            []string
		image, runnerImage string
	}{
		"a command": {
			brought, api.Agent{Kind: api.AgentKindCommand, Command: []string{"make", "--all"}},
			[]string{"/var/run/graf/bin/graf-runner", "--grace=10s", "--flush=10s", "--spool=/var/run/graf/scratch", "--", "make", "--all"},
			"agent", "runner",
		},
		"stored before there were kinds": {
			there, api.Agent{Command: []string{"true"}, Image: "own"},
			[]string{"/bin/graf-runner", "--grace=1s", "--flush=10s", "--", "true"}, "own", "",
		},
		"codex": {
			brought, api.Agent{
				Kind: api.AgentKindCodex, Model: "gpt-5", Arguments: []string{"-c", "x=1"}, Artifacts: []string{"a/*.md", "-b"},
				SecretEnv: map[string]api.SecretKey{
					"WORD": {Name: "graf-agent", Key: "k"}, "A": {Name: "graf-agent", Key: "k"}, "GIT_USERNAME": {Name: "graf-agent", Key: "k"},
				},
				Repository: api.Repository{URL: "https://git.example/r.git", Revision: "main", Branch: "b", PullRequest: true, Forge: "gitea"},
			},
			[]string{
				"/var/run/graf/bin/graf-runner", "--agent=codex", "--model=gpt-5", "--mcp", "--folder=repository", "--grace=10s", "--flush=10s", "--spool=/var/run/graf/scratch",
				"--artifacts=a/*.md", "--artifacts=-b", "--secret=A", "--secret=WORD",
				"--repository=https://git.example/r.git", "--revision=main", "--branch=b", "--forge=gitea", "--pull-request",
				"--", "-c", "x=1",
			},
			"codex-image", "runner",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.command, test.config.command(test.agent, true)); diff != "" {
				t.Error(diff)
			}
			if _, image := test.config.runner(); image != test.runnerImage || test.config.image(test.agent) != test.image {
				t.Errorf("image %q, runner's %q", test.config.image(test.agent), image)
			}
		})
	}
}

func TestModelPrices(t *testing.T) {
	t.Parallel()
	var prices ModelPrices
	for _, bad := range []string{"much", `{"gpt-5": 1}`, `{"gpt-5": {"input": "x"}}`, `{"gpt-5": {"cached": 1}}`, `{"gpt-5": {"input": -1}}`} {
		if err := prices.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	const good = `{"gpt-5*": {"input": 1.25, "cachedInput": 0.125, "output": 10}}`
	if err := prices.UnmarshalText([]byte(good)); err != nil || prices.text != good {
		t.Errorf("%q, %v", prices.text, err)
	}
}
