package mask

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	t.Parallel()
	const secret = `pa"ss&word/1`
	m := FromEnvironment([]string{
		"API_TOKEN=" + secret, "NAMED=hidden-value", "PATH=/usr/bin", "SHORT_TOKEN=abc",
		"PRIVATE_KEY=-----BEGIN-----\nfirst-line-of-it\nsecond-line-of-it\n",
	}, "NAMED")
	for name, said := range map[string]string{
		"as it is": secret, "as JSON": `pa\"ss&word/1`, "in a URL": url.QueryEscape(secret),
		"as base64": base64.StdEncoding.EncodeToString([]byte(secret)), "named": "hidden-value",
		"a line of several": "second-line-of-it", "by its look": "sk-0123456789abcdefghij",
	} {
		if got := m.Text("before " + said + " after"); strings.Contains(got, said) || !strings.HasPrefix(got, "before ") ||
			!strings.HasSuffix(got, " after") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, harmless := range []string{"/usr/bin", "abc", "nothing to hide"} {
		if got := m.Text(harmless); got != harmless {
			t.Errorf("%q became %q", harmless, got)
		}
	}
}

// A secret that is the beginning of another leaves nothing of it, in whatever order they come.
func TestTextOfOverlapping(t *testing.T) {
	t.Parallel()
	const short, long = "hidden-value", "hidden-value-and-more"
	for _, secrets := range [][]string{{short, long}, {long, short}} {
		if got := New(secrets...).Text("a " + long + " b " + short + " c"); strings.Contains(got, "more") || strings.Contains(got, "hidden") {
			t.Errorf("%q: %q", secrets, got)
		}
	}
}

// What a shell encodes has a newline at its end.
func TestTextInBase64(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"secret", "secret7", "secret78", "secret???", "secret>>>>"} {
		m := New(secret)
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			for _, behind := range []string{"", "\n", "\r\n", "more"} {
				said := encoding.EncodeToString([]byte(secret + behind))
				groups := encoding.EncodeToString([]byte(secret[:len(secret)/3*3]))
				if got := m.Text("before " + said); !strings.HasPrefix(got, "before ") || strings.Contains(got, groups) {
					t.Errorf("%q with %q: %q", secret, behind, got)
				}
			}
		}
	}
}

// Of a text that was cut, what may be the beginning of a secret is not shown.
func TestWithoutPart(t *testing.T) {
	t.Parallel()
	const secret = "hidden-value"
	m := New(secret)
	for cut := range len(secret) {
		line := m.WithoutPart(m.Text("a " + secret + strings.Repeat(" much more of it é", 9) + secret[:cut]))
		if strings.Contains(line, "hi") || !strings.HasPrefix(line, "a [redacted] much more") {
			t.Errorf("cut at %d: %q", cut, line)
		}
	}
	if got := New().WithoutPart("nothing to hide"); got != "nothing to hide" {
		t.Errorf("%q", got)
	}
}
