// Package mask takes secrets out of what an agent says: the values that the
// environment holds, in the encodings that they are met in, and what looks like a
// secret.
package mask

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/graf-run/graf/shared/redact"
)

// minLength is of the shortest value that is looked for: shorter ones would take
// harmless words out.
const minLength = 6

// Mask replaces secrets by redact.Mark.
type Mask struct{ values *strings.Replacer }

// New makes a mask of secret values.
func New(secrets ...string) *Mask {
	var pairs []string
	for _, secret := range secrets {
		// Output is read by lines, so what has several is looked for by line.
		for line := range strings.Lines(secret) {
			line = strings.TrimSpace(line)
			if len(line) < minLength {
				continue
			}
			for _, written := range encodings(line) {
				pairs = append(pairs, written, redact.Mark)
			}
		}
		if len(secret) >= minLength {
			pairs = append(pairs, base64.StdEncoding.EncodeToString([]byte(secret)), redact.Mark)
		}
	}
	return &Mask{strings.NewReplacer(pairs...)}
}

// FromEnvironment makes a mask of those variables of an environment, NAME=value,
// whose names say that they are secret, and of those that are named.
func FromEnvironment(environment []string, named ...string) *Mask {
	secret := map[string]bool{}
	for _, name := range named {
		secret[name] = true
	}
	var values []string
	for _, variable := range environment {
		name, value, _ := strings.Cut(variable, "=")
		if secret[name] || redact.SecretName(name) {
			values = append(values, value)
		}
	}
	return New(values...)
}

// Text is a text without the secrets.
func (m *Mask) Text(text string) string { return redact.Text(m.values.Replace(text)) }

func encodings(secret string) []string {
	quoted := strconv.Quote(secret) // as JSON has it, but for what HTML would mind
	forHTML, err := json.Marshal(secret)
	if err != nil {
		return []string{secret} // not UTF-8
	}
	return []string{
		secret, quoted[1 : len(quoted)-1], string(forHTML[1 : len(forHTML)-1]), url.QueryEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
	}
}
