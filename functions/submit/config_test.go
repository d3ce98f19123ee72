package submit_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/graf-run/graf/functions/submit"
)

func TestEventSources(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want submit.EventSources // nil: refused
	}{
		{"", submit.EventSources{}},
		{"/a=ops", submit.EventSources{"/a": "ops"}},
		{"/a=ops, https://example.com/?q=1=ci\n/b=ops", submit.EventSources{"/a": "ops", "https://example.com/?q=1": "ci", "/b": "ops"}},
		{"/a=ops,/a=ops", submit.EventSources{"/a": "ops"}},
		{"/a=ops,/a=ci", nil},
		{"/a", nil},
		{"=ops", nil},
		{"/a=", nil},
		{"/a=b/c", nil},
	}
	for _, test := range tests {
		var got submit.EventSources
		err := got.UnmarshalText([]byte(test.text))
		if (err == nil) != (test.want != nil) || !maps.Equal(got, test.want) {
			t.Errorf("%q: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

// A bad setting is named by its variable, and no secret is shown.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"GRAF_DATABASE_URL": "postgres://graf@127.0.0.1/graf", "GRAF_REDIS_URL": "redis://127.0.0.1/0",
		"GRAF_S3_ENDPOINT": "http://127.0.0.1:9000", "GRAF_S3_ACCESS_KEY_ID": "graf", "GRAF_S3_SECRET_ACCESS_KEY": "secret-key",
		"K_SINK": "http://127.0.0.1:1", "GRAF_API_BEARER_TOKENS": "ci=secret-token",
		"GRAF_CALLBACK_BASE_URL": "http://127.0.0.1", "GRAF_MEMORY_BASE_URL": "http://127.0.0.1",
	}
	for variable, value := range map[string]string{
		"GRAF_DATABASE_URL": "secret://", "GRAF_REDIS_URL": "secret", "GRAF_S3_ENDPOINT": "secret", "K_SINK": "broker",
		"GRAF_API_BEARER_TOKENS": "ci=secret", "GRAF_CALLBACK_BASE_URL": "callback", "GRAF_MEMORY_BASE_URL": "ftp://memory",
		"GRAF_EVENT_SOURCES": "/a", "GRAF_CODEX_TASKS_ENABLED": "maybe", "GRAF_RATE_LIMIT_BURST": "0",
	} {
		environment := maps.Clone(good)
		environment[variable] = value
		err := submit.New().Start(t.Context(), environment)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s=%s: error %v", variable, value, err)
		}
	}
}
