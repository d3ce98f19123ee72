package kube

import (
	"os"
	"strings"
	"testing"
)

// Every variable of the contract is in its document.
func TestContractIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/container-contract.md")
	if err != nil {
		t.Fatal(err)
	}
	spec := fullSpec()
	spec.Budget = Budget{Tokens: new(int64(1)), USD: new(1.0)}
	for _, v := range spec.environment() {
		name, _ := v.(object)["name"].(string)
		if _, own := spec.Env[name]; own || spec.SecretEnv[name] != (SecretKey{}) {
			continue
		}
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/container-contract.md does not say what %s is", name)
		}
	}
}
