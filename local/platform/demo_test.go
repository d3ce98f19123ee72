package platform

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graf-run/graf/local/demo"
	"github.com/graf-run/graf/local/services"
	"github.com/graf-run/graf/shared/codextest"
	"github.com/graf-run/graf/shared/responsestest"
)

// make demo AGENT=codex, with a model by a script: the real Codex edits the manifests
// that it is given, and what it records is in the prompt of the second task.
func TestDemoByCodex(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(codextest.Program(t))+":"+os.Getenv("PATH"))
	lesson := map[string]string{"lesson": "Pods of the broker's data plane do well with a memory limit of 512Mi."}
	edit := func(cpu string) responsestest.Turn {
		return responsestest.Executes(`sed -i 's/^\( *\)requests:$/\1limits:\n\1  memory: 512Mi\n&/' manifests/*.yaml; echo ` + cpu)
	}
	model := responsestest.New(t,
		edit("first"), responsestest.CallsMCP("graf", "record_lesson", lesson), responsestest.Says("The filter has a limit of 512Mi."),
		edit("second"), responsestest.CallsMCP("graf", "record_lesson", lesson), responsestest.Says("The ingress has the same."))
	s := startWith(t, Config{
		Services:    services.Config{DataFolder: dataFolder(t), Dependencies: services.Local, Ephemeral: true},
		Credentials: map[string]string{"OPENAI_API_KEY": "sk-scripted-0123456789abcdef", "OPENAI_BASE_URL": model.URL},
	})
	deployments, err := demo.LoadDeployments(t.Context(), ".")
	must(t, err)
	var out bytes.Buffer
	result, err := demo.Run(within(t), demo.Config{
		URL: s.URL(), Token: s.Token(), Agent: "codex", Model: "scripted", Deployments: deployments, Out: &out,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(result.Tasks) != 2 || result.Tasks[1].MemoryUsed == 0 || model.Left() != 0 {
		t.Errorf("%+v, %d turns left\n%s", result, model.Left(), out.String())
	}
	requests := model.Requests()
	if prompt := string(requests[3].Body); !strings.Contains(prompt, "What earlier tasks taught") || !strings.Contains(prompt, "512Mi") {
		t.Errorf("the second task was given %s", prompt)
	}
	if strings.Contains(out.String(), "sk-scripted") {
		t.Errorf("the key is shown:\n%s", out.String())
	}
}
