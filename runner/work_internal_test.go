package runner

import (
	"errors"
	"testing"

	"github.com/graf-run/graf/runner/process"
	"github.com/graf-run/graf/runner/repository"
)

// Nothing gets the credentials while something of the agent's runs.
func TestNothingIsPushedBesideTheAgent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		repository repository.Config
		want       error
	}{
		{repository.Config{URL: "https://host.invalid/owner/name", Push: true}, errLeft},
		{repository.Config{URL: "https://host.invalid/owner/name", PullRequest: true}, errLeft},
		{repository.Config{URL: "https://host.invalid/owner/name"}, nil},
	} {
		w := &work{r: &runner{config: Config{Repository: c.repository}}}
		if err := w.push(t.Context(), process.End{Left: true}); !errors.Is(err, c.want) {
			t.Errorf("%+v: got %v", c.repository, err)
		}
	}
}
