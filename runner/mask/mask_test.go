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
