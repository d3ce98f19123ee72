// Package mask takes secrets out of what an agent says: the values that the
// environment holds, in the encodings that they are met in, and what looks like a
// secret.
package mask

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/graf-run/graf/shared/redact"
)

// minLength is of the shortest value that is looked for: shorter ones would take
// harmless words out.
const minLength = 6

// Mask replaces secrets by redact.Mark.
type Mask struct {
	values *strings.Replacer
	// longest is the length of the longest text that is looked for.
	longest int
}

// New makes a mask of secret values.
func New(secrets ...string) *Mask {
	written := map[string]bool{}
	for _, secret := range secrets {
		// Output is read by lines, so what has several is looked for by line.
		for line := range strings.Lines(secret) {
			line = strings.TrimSpace(line)
			if len(line) < minLength {
				continue
			}
			for _, text := range encodings(line) {
				written[text] = true
			}
		}
		if len(secret) >= minLength {
			written[base64.StdEncoding.EncodeToString([]byte(secret))] = true
		}
	}
	var pairs []string
	// The first that fits is replaced: of one that begins with another nothing may be left.
	for _, text := range slices.SortedFunc(maps.Keys(written), func(a, b string) int { return len(b) - len(a) }) {
		pairs = append(pairs, text, redact.Mark)
	}
	m := &Mask{values: strings.NewReplacer(pairs...)}
	if len(pairs) > 0 {
		m.longest = len(pairs[0])
	}
	return m
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

// WithoutPart is the beginning of a text that was cut, without its end, which may be the beginning of a secret.
func (m *Mask) WithoutPart(text string) string {
	return strings.ToValidUTF8(text[:max(0, len(text)-m.longest)], "")
}

// maxKey bounds what is left out for a private key whose end does not come, in bytes.
const maxKey = 16 << 10

// Stream masks the lines of one stream, one after the other.
type Stream struct {
	mask *Mask
	// isJSON says that the lines are mostly values of JSON, which they stay.
	isJSON bool
	// inKey is how much more may be left out of a private key of several lines.
	inKey int
}

// Stream makes a mask for a stream.
func (m *Mask) Stream(isJSON bool) *Stream { return &Stream{mask: m, isJSON: isJSON} }

// Line is a line without the secrets.
func (s *Stream) Line(line string) string {
	if s.isJSON && json.Valid([]byte(line)) {
		// U+0000 Graf does not take. The values are looked for in the form that redact.JSON writes.
		clean, err := redact.JSON(json.RawMessage(strings.ReplaceAll(line, `\u0000`, `\ufffd`)))
		if err == nil {
			return s.mask.values.Replace(string(clean))
		}
	}
	if s.inKey > 0 {
		if s.inKey -= len(line) + 1; strings.Contains(line, "-----END ") {
			s.inKey = 0
		}
		return redact.Mark
	}
	const begins = "-----BEGIN "
	if at := strings.LastIndex(line, begins); at >= 0 && strings.Contains(line[at:], "PRIVATE KEY-----") &&
		!strings.Contains(line[at:], "-----END ") {
		s.inKey = maxKey
	}
	return s.mask.Text(line)
}

func encodings(secret string) []string {
	// Of a secret with something behind it, such as a newline, whole groups of 3 bytes are written the same.
	groups := []byte(secret[:len(secret)/3*3])
	return []string{
		secret, inJSON(secret, false), inJSON(secret, true), url.QueryEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString(groups), base64.RawURLEncoding.EncodeToString(groups),
	}
}

// inJSON is a text as JSON has it, within its quotes.
func inJSON(text string, forHTML bool) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(forHTML)
	if err := encoder.Encode(text); err != nil {
		return text // never: it is a text
	}
	quoted := strings.TrimSuffix(b.String(), "\n")
	return quoted[1 : len(quoted)-1]
}
