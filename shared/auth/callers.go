// Package auth tells who sends a request: a caller by one of the API tokens of
// GRAF_API_BEARER_TOKENS, or an execution by its task's own token. It keeps
// and compares hashes of tokens, in constant time.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/graf-run/graf/shared/problem"
)

// DefaultCaller is the name of a caller whose token has none.
const DefaultCaller = "default"

// MinTokenLength is the least characters that an API token has.
const MinTokenLength = 8

// Caller is who holds an API token; audit, rate limits and quotas go by name.
type Caller struct {
	Name string
}

// Callers knows the API tokens. The zero value knows none.
type Callers struct {
	entries []entry
}

type entry struct {
	name string
	hash [sha256.Size]byte
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	// tokenPattern is b64token of RFC 6750, section 2.1.
	tokenPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
)

// ParseCallers reads "name=token" or bare tokens, apart by commas or white
// space. Several tokens may have one name, so that a token can be replaced
// while the old one still works; a bare token's name is [DefaultCaller]. Errors
// name the entry by its number and never show a token.
func ParseCallers(text string) (Callers, error) {
	var callers Callers
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r <= ' ' })
	if len(words) == 0 {
		return Callers{}, errors.New("no tokens; give at least one as name=token")
	}
	seen := map[[sha256.Size]byte]int{}
	for i, word := range words {
		name, token, err := parseEntry(word)
		if err != nil {
			return Callers{}, fmt.Errorf("entry %d: %w", i+1, err)
		}
		hash := sha256.Sum256([]byte(token))
		if first, twice := seen[hash]; twice {
			return Callers{}, fmt.Errorf("entry %d: has the same token as entry %d; give each caller its own", i+1, first)
		}
		seen[hash] = i + 1
		callers.entries = append(callers.entries, entry{name, hash})
	}
	return callers, nil
}

// parseEntry splits at the first equals sign, unless all that follows are
// equals signs: those are the padding of a bare token in base64.
func parseEntry(word string) (name, token string, err error) {
	name, token = DefaultCaller, word
	if before, after, ok := strings.Cut(word, "="); ok && (after == "" || strings.Trim(after, "=") != "") {
		name, token = before, after
	}
	switch {
	case !namePattern.MatchString(name):
		return "", "", errors.New("the name must be 1 to 63 letters, digits, dots, underscores or hyphens")
	case token == "":
		return "", "", fmt.Errorf("caller %q has no token after the equals sign", name)
	case len(token) < MinTokenLength:
		return "", "", fmt.Errorf("the token of caller %q is too short: %d characters, need %d or more", name, len(token), MinTokenLength)
	case !tokenPattern.MatchString(token):
		return "", "", fmt.Errorf("the token of caller %q has a character that a bearer token cannot have; use letters, digits and -._~+/", name)
	}
	return name, token, nil
}

// UnmarshalText is ParseCallers for settings.
func (c *Callers) UnmarshalText(text []byte) error {
	callers, err := ParseCallers(string(text))
	if err != nil {
		return err
	}
	*c = callers
	return nil
}

// Names are the callers' names, in the order given, each once.
func (c Callers) Names() []string {
	var names []string
	seen := map[string]bool{}
	for _, e := range c.entries {
		if !seen[e.name] {
			seen[e.name] = true
			names = append(names, e.name)
		}
	}
	return names
}

// Lookup finds whose token it is. It compares with every hash, however soon
// one fits, so that its time tells nothing.
func (c Callers) Lookup(token string) (Caller, bool) {
	hash := sha256.Sum256([]byte(token))
	found := -1
	for i := range c.entries {
		if subtle.ConstantTimeCompare(hash[:], c.entries[i].hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Caller{}, false
	}
	return Caller{Name: c.entries[found].name}, true
}

// Authenticate finds the caller by the request's bearer token. Its errors are
// of kind ErrUnauthenticated, or ErrForbidden for a task's token, which is good
// elsewhere.
func (c Callers) Authenticate(r *http.Request) (Caller, error) {
	token, err := Bearer(r)
	if err != nil {
		return Caller{}, err
	}
	caller, ok := c.Lookup(token)
	switch {
	case ok:
		return caller, nil
	case IsTaskToken(token):
		return Caller{}, problem.ErrForbidden.With("This needs an API token; a task's token is not enough.")
	default:
		return Caller{}, problem.ErrUnauthenticated.With("The token is not known.")
	}
}

// Bearer is the token of the request's Authorization header. Its errors are of
// kind ErrUnauthenticated.
func Bearer(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return "", problem.ErrUnauthenticated.With("Send the header Authorization: Bearer <token>.")
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || !tokenPattern.MatchString(token) {
		return "", problem.ErrUnauthenticated.With("The Authorization header must be one Bearer token.")
	}
	return token, nil
}
