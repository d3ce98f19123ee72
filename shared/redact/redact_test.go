package redact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/redact"
)

func TestText(t *testing.T) {
	t.Parallel()
	token, _ := auth.NewTaskToken()
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	tests := []struct{ name, text, want string }{
		{"nothing", "Raised the replicas of web to 3; see https://example.com/a?b=c.", ""},
		{"prose about secrets", "The token expired: ask for a new password. max_tokens=100", ""},
		{"names that begin with sk", "task-0123456789abcdef0123 on disk-0123456789abcdef0123", ""},
		{"a task's token", "curl -H 'X: " + token + "'", "curl -H 'X: [redacted]'"},
		{"bearer", "Authorization: Bearer abc.DEF-123_~+/==\nAccept: x", "Authorization: [redacted]\nAccept: x"},
		{"bearer in a command", `curl -H "authorization: Bearer abc.DEF-123" x`, `curl -H "authorization: Bearer [redacted]" x`},
		{"bearer, other case", "with BEARER abcdefgh1", "with BEARER [redacted]"},
		{"basic", "sent Authorization: Basic YTpi", "sent Authorization: Basic [redacted]"},
		{"OpenAI", "key sk-proj-abcDEF_0123456789 used", "key [redacted] used"},
		{"GitHub", "ghp_0123456789abcdefghij github_pat_0123456789_abcdefghij", "[redacted] [redacted]"},
		{"GitLab and Slack", "glpat-0123456789abcdefghij xoxb-0123456789-abc", "[redacted] [redacted]"},
		{"AWS", "AKIAIOSFODNN7EXAMPLE", "[redacted]"},
		{"JWT", "got " + jwt + ".", "got [redacted]."},
		{"URL", "postgres://graf:hunter2@db:5432/graf", "postgres://graf:[redacted]@db:5432/graf"},
		{"query", "GET /x?a=1&access_token=hunter2&b=2", "GET /x?a=1&access_token=[redacted]&b=2"},
		{"connection string", "host=db password=hunter2 user=graf", "host=db password=[redacted] user=graf"},
		{"shell", "export AWS_SECRET_ACCESS_KEY='a b c' X=1", "export AWS_SECRET_ACCESS_KEY='[redacted]' X=1"},
		{"YAML in a diff", "-  password: hunter1\n+  password: \"hunter 2\"\n   name: web\n", "-  password: [redacted]\n+  password: \"[redacted]\"\n   name: web\n"},
		{"JSON in text", "{\n  \"apiKey\": \"hunter2\",\n  \"a\": 1\n}", "{\n  \"apiKey\": \"[redacted]\",\n  \"a\": 1\n}"},
		{"YAML mapping", "credentials:\n  user: x\n", ""},
		{"private key", "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nAAA=\n-----END RSA PRIVATE KEY-----\nb", "a\n[redacted]\nb"},
		{"private key, cut off", "a\n-----BEGIN PRIVATE KEY-----\nMIIE", "a\n[redacted]"},
		{"public key", "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := test.want
			if want == "" {
				want = test.text
			}
			got := redact.Text(test.text)
			if got != want {
				t.Errorf("Text(%q)\n = %q\nwant %q", test.text, got, want)
			}
			if again := redact.Text(got); again != got {
				t.Errorf("redacting again gives %q", again)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, value, want string }{
		{"text", `"password=hunter2"`, `"password=[redacted]"`},
		{"fields by name", `{"password":"hunter2","dbPassword":"hunter2","api_key":"x","token":7,"secretName":"tls"}`,
			`{"api_key":"[redacted]","dbPassword":"[redacted]","password":"[redacted]","secretName":"tls","token":7}`},
		{"deep", `{"a":[{"b":"Bearer abcdefgh"}],"n":12345678901234567890.10,"h":"<&>"}`,
			`{"a":[{"b":"Bearer [redacted]"}],"h":"<&>","n":12345678901234567890.10}`},
		{"keys", `{"AKIAIOSFODNN7EXAMPLE":1}`, `{"[redacted]":1}`},
		{"below a secret name", `{"credentials":{"user":"a","password":"b"},"token":""}`, `{"credentials":{"password":"[redacted]","user":"a"},"token":""}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := redact.JSON(json.RawMessage(test.value))
			if err != nil || string(got) != test.want {
				t.Errorf("JSON = %s, %v\nwant   %s", got, err, test.want)
			}
		})
	}
	if _, err := redact.JSON(json.RawMessage("{")); err == nil {
		t.Error("broken JSON is taken")
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"password=hunter2", "+ token: 'x", "a://b:c@d", "-----BEGIN PRIVATE KEY-----", "=:=:secret=\"", "bearer 12345678"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const secret = "graf_task_0123456789abcdef"
		if got := redact.Text(text + " " + secret); strings.Contains(got, secret) {
			t.Errorf("left in: %q", got)
		}
	})
}

func BenchmarkText(b *testing.B) {
	text := strings.Repeat("level=info msg=\"reconciled\" name: web replicas=3 url=https://example.com/a\n", 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		redact.Text(text)
	}
}
