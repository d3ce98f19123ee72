package memory_test

import (
	"encoding/json"
	"testing"

	"github.com/graf-run/graf/shared/memory"
)

func TestContentText(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		`"  Raised the limit.\n"`: "Raised the limit.",
		`{"message":"m","summary":"s","lesson":" ","step":3,"error":{"code":1}}`: "s\nm",
		`{"inputTokens":5}`: "",
		`null`:              "",
		``:                  "",
		`7`:                 "",
	} {
		if got := memory.ContentText(json.RawMessage(content)); got != want {
			t.Errorf("ContentText(%s) = %q, want %q", content, got, want)
		}
	}
}
