// Package redact takes secrets out of what agents say before any of it is
// stored: Graf's own tokens, Authorization headers, keys in the formats of
// common providers, private keys, passwords in URLs and in arguments of commands,
// and values whose name says that they are secret. It would rather take a word too much than leave a key.
package redact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Mark stands where a secret was.
const Mark = "[redacted]"

// rule replaces what pattern finds. A text with none of the literals cannot
// match, which is told much faster than by the pattern.
type rule struct {
	literals []string
	pattern  *regexp.Regexp
	with     string
}

// secretEnding matches the end of a name that SecretName says is secret.
var secretEnding = `(?:` + strings.Join(secretEnds, "|") + `|api[_.-]key|(?:access|secret|private)[_.-]key)\b["']?`

var rules = []rule{
	{[]string{"-----BEGIN "}, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`), Mark},
	{[]string{"graf_task_"}, regexp.MustCompile(`graf_task_[A-Za-z0-9_-]{8,}`), Mark},
	{[]string{"sk-"}, regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{16,}`), Mark},
	{[]string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, regexp.MustCompile(`\bgh[pousr]_[A-Za-z0-9]{16,}`), Mark},
	{[]string{"github_pat_"}, regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{16,}`), Mark},
	{[]string{"glpat-"}, regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`), Mark},
	{[]string{"xox"}, regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{10,}`), Mark},
	{[]string{"AIza"}, regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`), Mark},
	{[]string{"AKIA", "ASIA"}, regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), Mark},
	// A JSON Web Token: header and payload begin with {" in base64.
	{[]string{"eyJ"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), Mark},
	{[]string{"earer ", "EARER "}, regexp.MustCompile(`(?i)(\bbearer +)[A-Za-z0-9._~+/-]{8,}=*`), "${1}" + Mark},
	{[]string{"asic ", "ASIC "}, regexp.MustCompile(`(?i)(\bauthorization["']?: *["']?basic +)[A-Za-z0-9+/=]+`), "${1}" + Mark},
	// A change in words, as summaries of diffs have it: "env DB_PASSWORD old → new".
	{[]string{" → "}, regexp.MustCompile(`(?i)(` + secretEnding + ` )\S+ → [^\s;]+`), "${1}" + Mark + " → " + Mark},
	{[]string{"curl "}, regexp.MustCompile(`(\bcurl [^\r\n]*?(?: -u ?|--user[ =])(?:[^\s:"']+|["'][^\r\n:"']+):)(?:[^\s"'\[][^\s"']*)`), "${1}" + Mark},
	{[]string{"://"}, regexp.MustCompile(`(://[^/@:\s]*:)[^/@\s]+@`), "${1}" + Mark + "@"},
}

// Text is text without its secrets.
func Text(text string) string {
	for _, r := range rules {
		for _, literal := range r.literals {
			if strings.Contains(text, literal) {
				text = r.pattern.ReplaceAllString(text, r.with)
				break
			}
		}
	}
	return assignments(flags(text))
}

// JSON is a JSON value without the secrets in its texts, and without the texts
// of fields whose name says that they are secret. Numbers stay as they are: a
// field promptToken may well be a count.
func JSON(raw json.RawMessage) (json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // not to round
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("redact JSON: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(walk(value)); err != nil {
		return nil, fmt.Errorf("redact JSON: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

func walk(value any) any {
	switch value := value.(type) {
	case string:
		return Text(value)
	case []any:
		return walkList(value)
	case map[string]any:
		return walkObject(value)
	}
	return value
}

// walkList takes out what follows a flag with a secret's name, too: ["--password", "x"].
func walkList(list []any) []any {
	secret := false
	for i, item := range list {
		text, isText := item.(string)
		if secret && isText && text != "" && !strings.HasPrefix(text, "-") {
			list[i] = Mark
		} else {
			list[i] = walk(item)
		}
		secret = isText && strings.HasPrefix(text, "--") && SecretName(text)
	}
	return list
}

func walkObject(object map[string]any) map[string]any {
	clean := make(map[string]any, len(object))
	named := namesSecret(object)
	for key, value := range object {
		if text, ok := value.(string); ok && text != "" && (SecretName(key) || named && key == "value") {
			clean[key] = Mark
			continue
		}
		clean[Text(key)] = walk(value)
	}
	return clean
}

// namesSecret says whether the object gives a value to a secret name that stands
// beside it, as the variables of a container do: {"name": "DB_PASSWORD", "value": …}.
func namesSecret(object map[string]any) bool {
	for _, field := range nameFields {
		if name, ok := object[field].(string); ok && SecretName(name) {
			return true
		}
	}
	return false
}

// nameFields are the fields that name what stands in the field value beside them.
var nameFields = []string{"name", "key"}

// secretEnds are what names of secret values end with, in lower case and
// without separators.
var secretEnds = []string{
	"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "secretkey", "privatekey",
	"authorization", "credential", "credentials", "cookie",
}

var separators = strings.NewReplacer("_", "", "-", "", ".", "")

// SecretName says whether a value of this name is to be taken for a secret, as
// that of DB_PASSWORD or apiKey.
func SecretName(name string) bool {
	name = separators.Replace(strings.ToLower(name))
	for _, end := range secretEnds {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
