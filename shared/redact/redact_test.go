package redact_test

import (
	"encoding/json"
	"fmt"
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
		{"JSON on one line", `got {"user":"bob","password":"hunter2","api_key": "a\"b\\", "n":1,"token":7}`, `got {"user":"bob","password":"[redacted]","api_key": "[redacted]", "n":1,"token":[redacted]}`},
		{"JSON below a secret name", `{"a":1,"credentials":{"user":"a","password":"b"},"token":["a","b"]}`, `{"a":1,"credentials":{"user":"a","password":"[redacted]"},"token":[redacted]`},
		{"JSON in JSON", `{"content":"{\"user\":\"bob\",\"password\":\"hunter2\",\"a\":1}"}`, `{"content":"{\"user\":\"bob\",\"password\":\"[redacted]\",\"a\":1}"}`},
		{"YAML on one line", "{user: bob, password: hunter2, a: b}", "{user: bob, password: [redacted], a: b}"},
		{"env in YAML", "env:\n- name: DB_PASSWORD\n  value: hunter2-prod\n- name: LEVEL\n  value: debug\n", "env:\n- name: DB_PASSWORD\n  value: [redacted]\n- name: LEVEL\n  value: debug\n"},
		{"env from elsewhere", "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db, key: dsn}\n- name: A\n  value: b\n", ""},
		{"env on one line", "env: [{name: A, value: b}, {name: API_TOKEN, value: hunter2}]", "env: [{name: A, value: b}, {name: API_TOKEN, value: [redacted]}]"},
		{"an item on one line", "- {name: API_TOKEN, value: hunter2}\n- {name: A, value: b}", "- {name: API_TOKEN, value: [redacted]}\n- {name: A, value: b}"},
		{"env in JSON", `"env":[{"name":"A","value":"b"},{"name":"DB_PASSWORD","value":"hunter2"}]`, `"env":[{"name":"A","value":"b"},{"name":"DB_PASSWORD","value":"[redacted]"}]`},
		{"env in indented JSON", "{\n  \"name\": \"DB_PASSWORD\",\n  \"value\": \"hunter2\"\n}", "{\n  \"name\": \"DB_PASSWORD\",\n  \"value\": \"[redacted]\"\n}"},
		{"env in a diff", "         - name: DB_PASSWORD\n-          value: hunter1\n+          value: hunter2\n", "         - name: DB_PASSWORD\n-          value: [redacted]\n+          value: [redacted]\n"},
		{"env replaced in a diff", "-- name: DB_PASSWORD\n+- name: A\n-  value: hunter1\n+  value: b\n", "-- name: DB_PASSWORD\n+- name: A\n-  value: [redacted]\n+  value: b\n"},
		{"a change in words", "Deployment graf/web: container app env DB_PASSWORD hunter2 → hunter3; replicas 2 → 3", "Deployment graf/web: container app env DB_PASSWORD [redacted] → [redacted]; replicas 2 → 3"},
		{"a count in words", "the token count went 5 → 6", ""},
		{"a flag in a command", "argocd login --username bob --auth-token hunter2 --insecure", "argocd login --username bob --auth-token [redacted] --insecure"},
		{"a flag in quotes", `login --password "hunter 2" 'x'`, `login --password "[redacted]" 'x'`},
		{"a flag and none", "login --password --token-file /run/token --token", ""},
		{"flags in JSON", `["--db-password","hunter2","--level", "debug"]`, `["--db-password","[redacted]","--level", "debug"]`},
		{"flags in indented JSON", "[\n  \"--api-key\",\n  \"hunter2\",\n  \"x\"\n]", "[\n  \"--api-key\",\n  \"[redacted]\",\n  \"x\"\n]"},
		{"flags in JSON in JSON", `"[\"--password\",\"hunter2\"]"`, `"[\"--password\",\"[redacted]\"]"`},
		{"flags in YAML", "args:\n- --password\n- hunter2\n- --level\n- debug\n", "args:\n- --password\n- [redacted]\n- --level\n- debug\n"},
		{"flags in a diff", "         - --password\n-        - hunter1\n+        - hunter2\n", "         - --password\n-        - [redacted]\n+        - [redacted]\n"},
		{"flags in a diff of JSON", "   \"--password\",\n-  \"hunter1\"\n+  \"hunter2\"\n", "   \"--password\",\n-  \"[redacted]\"\n+  \"[redacted]\"\n"},
		{"a user of curl", `curl -sS -u bob:hunter2 https://x || curl --user=bob:hunter2`, `curl -sS -u bob:[redacted] https://x || curl --user=bob:[redacted]`},
		{"a user of others", "docker run -u 1000:1000 x", ""},
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
		{"env", `[{"name":"DB_PASSWORD","value":"hunter2"},{"value":"b","name":"A"},{"value":"x","name":"API_KEY","n":1}]`,
			`[{"name":"DB_PASSWORD","value":"[redacted]"},{"name":"A","value":"b"},{"n":1,"name":"API_KEY","value":"[redacted]"}]`},
		{"keys", `{"AKIAIOSFODNN7EXAMPLE":1}`, `{"[redacted]":1}`},
		{"flags", `{"args":["--token","hunter2","--password","--level","debug","--api-key"]}`, `{"args":["--token","[redacted]","--password","--level","debug","--api-key"]}`},
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
	for _, seed := range []string{"password=hunter2", "+ token: 'x", "a://b:c@d", "-----BEGIN PRIVATE KEY-----", "=:=:secret=\"", "bearer 12345678",
		"- name: DB_PASSWORD\n  value: hunter2", `{"user":"bob","password":"hunter2"}`, `{\"password\":\"`, "token: [a", "env A_TOKEN a → b", "name:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const hunter = "hunter2hunter2"
		if strings.Contains(text, hunter) {
			return
		}
		const secret = "graf_task_0123456789abcdef"
		if got := redact.Text(text + " " + secret); strings.Contains(got, secret) {
			t.Errorf("left in: %q", got)
		}
		for _, known := range []string{
			`{"user":"bob","password":"` + hunter + `"}`, "- name: DB_PASSWORD\n  value: " + hunter + "\n", `[{"name":"DB_PASSWORD","value":"` + hunter + `"}]`,
		} {
			if got := redact.Text(text + "\n" + known); strings.Contains(got, hunter) {
				t.Errorf("left in: %q", got)
			}
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

// Texts that make it look at its line again and again: bytes per second must not
// fall with the size, or time would go by the square of what an agent sends.
func BenchmarkTextHostile(b *testing.B) {
	for _, unit := range []string{
		"password:", `"x":1,"token":`, `"name":x`, "token=[redacted]", "--token ", "--token-", "curl ", `{"id":1,"token":"x"},`, `,name:\"`, "{token:{", `"token":[`,
	} {
		for _, size := range []int{64 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("%q/%dKiB", unit, size>>10), func(b *testing.B) {
				text := strings.Repeat(unit, size/len(unit))
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					redact.Text(text)
				}
			})
		}
	}
}
