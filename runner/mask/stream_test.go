package mask

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestStream(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN RSA PRIVATE KEY-----\nMIIBPAIBAAJBALnH\nqYY6bJVhlWVL\n-----END RSA PRIVATE KEY-----"
	for name, c := range map[string]struct {
		isJSON bool
		lines  []string
		want   []string
	}{
		"a key of several lines": {
			lines: append(strings.Split("before\n"+key, "\n"), "after"),
			want:  []string{"before", "[redacted]", "[redacted]", "[redacted]", "[redacted]", "after"},
		},
		"a key in JSON": {
			isJSON: true, lines: []string{`{"output":"` + strings.ReplaceAll(key, "\n", `\n`) + `\nafter","n":1}`},
			want: []string{`{"n":1,"output":"[redacted]\nafter"}`},
		},
		"a value in JSON": {
			isJSON: true, lines: []string{`{"output":"it is the-secret-value\n"}`, `{"output":"API_TOKEN=abc\"} \\","x":{}}`},
			want: []string{`{"output":"it is [redacted]\n"}`, `{"output":"API_TOKEN=[redacted]\"} \\","x":{}}`},
		},
		"a value in JSON in JSON": {
			isJSON: true, lines: []string{`{"output":"{\"token\": \"x-y-z\"}"}`}, want: []string{`{"output":"{\"token\": \"[redacted]\"}"}`},
		},
		"U+0000 in JSON": {isJSON: true, lines: []string{`{"output":"a\u0000b\\u0000"}`}, want: []string{`{"output":"a�b\\ufffd"}`}},
		"what is no JSON": {
			isJSON: true, lines: []string{`the-secret-value {`, `{"a":"the-secret-value"} {`},
			want: []string{`[redacted] {`, `{"a":"[redacted]"} {`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New("the-secret-value").Stream(c.isJSON)
			for i, line := range c.lines {
				if got := s.Line(line); got != c.want[i] {
					t.Errorf("line %d: %s, want %s", i, got, c.want[i])
				}
			}
		})
	}
}

// FuzzStream: a line never tells the value, and JSON stays JSON unless the value was part of its escapes.
func FuzzStream(f *testing.F) {
	const secret = "s3cr3t-V4lue"
	f.Add(`{"a":"`+secret+`"}`, true)
	f.Add(`-----BEGIN RSA PRIVATE KEY-----`, false)
	f.Add(`{"`+secret+`":["`+secret+`",{"password":1}]} x`, true)
	f.Add(`"\u0073`+secret[1:]+`"`, true)
	f.Fuzz(func(t *testing.T, line string, isJSON bool) {
		s := New(secret).Stream(isJSON)
		got := s.Line(line)
		if strings.Contains(got, secret) {
			t.Errorf("%q tells it: %q", line, got)
		}
		if isJSON && json.Valid([]byte(line)) && !strings.Contains(line, secret) && !json.Valid([]byte(got)) {
			t.Errorf("%q became %q", line, got)
		}
	})
}
