package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/message"
)

// Our keywords, described at the head of openapi.yaml.
const (
	keywordMaxBytes     = "x-graf-maxBytes"
	keywordMaxJSONBytes = "x-graf-maxJsonBytes"
)

// keywords is the vocabulary of what JSON Schema cannot say: bounds in bytes,
// and that an integer is written as Go reads it.
func keywords() *jsonschema.Vocabulary {
	return &jsonschema.Vocabulary{URL: "urn:graf:vocabulary", Compile: compileKeywords}
}

func compileKeywords(_ *jsonschema.CompilerContext, schema map[string]any) (jsonschema.SchemaExt, error) {
	var k keyword
	var err error
	if k.maxBytes, err = bound(schema, keywordMaxBytes); err != nil {
		return nil, err
	}
	if k.maxJSONBytes, err = bound(schema, keywordMaxJSONBytes); err != nil {
		return nil, err
	}
	if k.maxLength, err = bound(schema, "maxLength"); err != nil || k.maxBytes == 0 {
		k.maxLength = 0 // What is wrong with it, the library says.
	}
	k.integer = schema["type"] == "integer"
	if k == (keyword{}) {
		return nil, nil //nolint:nilnil // the library's way to say that none of our keywords is here
	}
	return k, nil
}

// bound reads a bound in bytes, 0 if there is none.
func bound(schema map[string]any, name string) (int, error) {
	value, ok := schema[name]
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(fmt.Sprint(value))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s: want a count of bytes, have %v", name, value)
	}
	return n, nil
}

// keyword is the compiled form; a zero field does not apply.
type keyword struct {
	maxBytes int
	// maxLength is the schema's own bound in characters beside maxBytes: what is
	// beyond both is said once.
	maxLength    int
	maxJSONBytes int
	integer      bool
}

// Validate reports what v is beyond.
func (k keyword) Validate(ctx *jsonschema.ValidatorContext, v any) {
	if s, ok := v.(string); ok && k.maxBytes > 0 && len(s) > k.maxBytes &&
		(k.maxLength == 0 || utf8.RuneCountInString(s) <= k.maxLength) {
		ctx.AddError(violation(fmt.Sprintf("must be at most %d bytes in UTF-8, is %d", k.maxBytes, len(s))))
	}
	if k.maxJSONBytes > 0 {
		if size := jsonSize(v); size > k.maxJSONBytes {
			ctx.AddError(violation(fmt.Sprintf("must be at most %d bytes as JSON, is %d", k.maxJSONBytes, size)))
		}
	}
	if n, ok := v.(json.Number); ok && k.integer && strings.ContainsAny(n.String(), ".eE") {
		ctx.AddError(violation("must be an integer without fraction or exponent"))
	}
}

// violation is an error of one of our keywords.
type violation string

// KeywordPath is where in the schema it stems from; nothing reads ours.
func (violation) KeywordPath() []string { return nil }

// LocalizedString is the text; we have one language.
func (v violation) LocalizedString(*message.Printer) string { return string(v) }

// jsonSize is the length of v as compact JSON that escapes no more than it must.
func jsonSize(v any) int {
	switch v := v.(type) {
	case map[string]any:
		size := 2 + max(len(v)-1, 0)
		for key, value := range v {
			size += stringSize(key) + 1 + jsonSize(value)
		}
		return size
	case []any:
		size := 2 + max(len(v)-1, 0)
		for _, value := range v {
			size += jsonSize(value)
		}
		return size
	case string:
		return stringSize(v)
	case json.Number:
		return len(v)
	case bool:
		return len(strconv.FormatBool(v))
	default:
		return len("null")
	}
}

// stringSize is the length of s as a JSON string.
func stringSize(s string) int {
	size := 2 + len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t' || c == '\b' || c == '\f':
			size++
		case c < ' ':
			size += len(`\u0000`) - 1
		}
	}
	return size
}

// checkTime takes the times that Go reads; the library's own check lets leap
// seconds and a small t through, which would then fail as a fault of ours.
func checkTime(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	var t time.Time
	return t.UnmarshalText([]byte(s))
}

// errNotUUID stands for every way not to be a UUID.
var errNotUUID = errors.New("not a UUID")

// checkUUID takes the one form with four hyphens; uuid.Parse takes four forms.
func checkUUID(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	const length = 36
	if utf8.RuneCountInString(s) != length || uuid.Validate(s) != nil {
		return errNotUUID
	}
	return nil
}
