package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, arguments, field, value, problem string
	}{
		{name: "value", arguments: "--name web --set a.b[name=c].d=1=2", field: "a.b[name=c].d", value: "1=2"},
		{name: "from memory", arguments: "--name web --set a.b --value-from-memory", field: "a.b"},
		{name: "no name", arguments: "--set a=b", problem: "--name is missing"},
		{name: "no field", arguments: "--name web", problem: "--set is missing"},
		{name: "no value", arguments: "--name web --set a.b", problem: "add =VALUE"},
		{name: "two values", arguments: "--name web --set a=b --value-from-memory", problem: "leave one of them out"},
		{name: "bad field", arguments: "--name web --set a..b=c", problem: "a key is empty"},
		{name: "stray", arguments: "--name web --set a=b c", problem: `unexpected argument "c"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o, err := parseOptions(strings.Fields(test.arguments), io.Discard)
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Fatalf("error = %v, want one with %q", err, test.problem)
				}
				return
			}
			if err != nil || o.field.String() != test.field || o.value != test.value {
				t.Fatalf("field %q, value %q, %v; want %q, %q", o.field, o.value, err, test.field, test.value)
			}
		})
	}
}

func TestReadContractNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := readContract(func(string) string { return "" })
	if err == nil {
		t.Fatal("an empty environment was taken")
	}
	for _, name := range []string{
		"GRAF_TASK_ID", "GRAF_CALLBACK_URL", "GRAF_CALLBACK_TOKEN", "GRAF_MEMORY_URL",
		"GRAF_PROMPT_FILE", "GRAF_MANIFESTS_DIR", "GRAF_DEADLINE",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v\ndoes not name %s", err, name)
		}
	}
}

func TestPauseGrowsToItsBound(t *testing.T) {
	t.Parallel()
	for try, most := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 6: 3200 * time.Millisecond, 50: longest} {
		for range 100 {
			if p := pause(try); p < most/2 || p > most {
				t.Fatalf("pause(%d) = %s, want %s to %s", try, p, most/2, most)
			}
		}
	}
}
