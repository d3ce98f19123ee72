package manifest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/graf-run/graf/shared/redact"
)

// ErrNoSalt says that a secret cannot be taken: short values could be guessed by unsalted digests.
var ErrNoSalt = errors.New("a secret needs a salt for the digests of its values")

// serverMetadata are the fields of metadata that the API server sets.
var serverMetadata = []string{
	"managedFields", "resourceVersion", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
	"generation", "selfLink",
}

// serverAnnotations are annotations that kubectl and controllers set. The first holds a whole copy of the resource,
// values of Secrets included.
var serverAnnotations = []string{"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"}

// digested is the form of a Secret's value in a canonical object, which is left as it is when read back.
var digested = regexp.MustCompile(`^sha256-salted:[0-9a-f]{64}$`)

// canonicalize copies a resource into canonical form.
func canonicalize(content map[string]any, salt []byte) (map[string]any, error) {
	nodes := 0
	object, err := normalizeMap(content, "", 1, &nodes)
	if err != nil {
		return nil, err
	}
	delete(object, "status")
	if metadata, ok := object["metadata"].(map[string]any); ok {
		stripMetadata(metadata)
	}
	return object, hideSecrets(object, salt)
}

func stripMetadata(metadata map[string]any) {
	for _, field := range serverMetadata {
		delete(metadata, field)
	}
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		return
	}
	for _, name := range serverAnnotations {
		delete(annotations, name)
	}
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
}

// hideSecrets replaces secrets by digests, wherever they are in a value: the data of a Secret, also of one inside
// another resource, and what stands beside a secret name, as in {name: DB_PASSWORD, value: …} of a container's env.
func hideSecrets(value any, salt []byte) error {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			if err := hideSecrets(item, salt); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := hideInMap(value, salt); err != nil {
			return err
		}
		for _, item := range value {
			if err := hideSecrets(item, salt); err != nil {
				return err
			}
		}
	}
	return nil
}

func hideInMap(object map[string]any, salt []byte) error {
	if version, present := object["apiVersion"]; object["kind"] == "Secret" && (version == "v1" || !present) {
		if metadata, ok := object["metadata"].(map[string]any); ok {
			stripMetadata(metadata)
		}
		return digestSecret(object, salt)
	}
	value := object["value"]
	if value == nil || value == "" || !namesSecret(object) {
		return nil
	}
	switch value.(type) {
	case map[string]any, []any: // What is in it is looked at by itself.
		return nil
	}
	if len(salt) == 0 {
		return ErrNoSalt
	}
	object["value"] = redactedValue(fmt.Sprint(value), false, salt)
	return nil
}

// namesSecret says whether the name of what stands in the field value is that of a secret.
func namesSecret(object map[string]any) bool {
	for _, field := range []string{"name", "key"} {
		if name, ok := object[field].(string); ok && redact.SecretName(name) {
			return true
		}
	}
	return false
}

// digestSecret replaces a Secret's values by digests. Like the API server it folds stringData into data.
func digestSecret(secret map[string]any, salt []byte) error {
	digests := map[string]any{}
	for _, field := range []string{"data", "stringData"} {
		if _, present := secret[field]; !present {
			continue
		}
		if len(salt) == 0 {
			return ErrNoSalt
		}
		values, ok := secret[field].(map[string]any)
		if !ok {
			return fmt.Errorf("%s of a Secret must be a mapping", field)
		}
		for key, value := range values {
			text, ok := value.(string)
			if !ok { // As text, so that nothing unredacted gets through.
				text = fmt.Sprint(value)
			}
			digests[key] = redactedValue(text, field == "data", salt)
		}
		delete(secret, field)
	}
	if len(digests) > 0 {
		secret["data"] = digests
	}
	return nil
}

func redactedValue(text string, encoded bool, salt []byte) string {
	if digested.MatchString(text) {
		return text
	}
	value := []byte(text)
	if encoded {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			value = decoded
		}
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write(value)
	return "sha256-salted:" + hex.EncodeToString(mac.Sum(nil))
}

// normalize copies a decoded value, drops nulls and brings numbers into one form each, within bounds.
func normalize(value any, path string, depth int, nodes *int) (any, error) {
	if *nodes++; *nodes > maxNodes {
		return nil, fmt.Errorf("more than %d values", maxNodes)
	}
	if depth > MaxDepth {
		return nil, fmt.Errorf("%s is nested more than %d levels deep", shortened(path, 200), MaxDepth)
	}
	switch value := value.(type) {
	case map[string]any:
		return normalizeMap(value, path, depth, nodes)
	case []any:
		copied := make([]any, len(value))
		for i, item := range value {
			normal, err := normalize(item, path+"["+strconv.Itoa(i)+"]", depth+1, nodes)
			if err != nil {
				return nil, err
			}
			copied[i] = normal
		}
		return copied, nil
	default:
		return scalar(value, path)
	}
}

func normalizeMap(value map[string]any, path string, depth int, nodes *int) (map[string]any, error) {
	copied := make(map[string]any, len(value))
	for key, item := range value {
		if item == nil { // The same as absent.
			continue
		}
		if !utf8.ValidString(key) {
			return nil, fmt.Errorf("a key under %q is not valid UTF-8", path)
		}
		normal, err := normalize(item, join(path, key), depth+1, nodes)
		if err != nil {
			return nil, err
		}
		copied[key] = normal
	}
	return copied, nil
}

func scalar(value any, path string) (any, error) {
	switch value := value.(type) {
	case nil, bool:
		return value, nil
	case string:
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("%s is not valid UTF-8", path)
		}
		return value, nil
	case int:
		return int64(value), nil
	case int64:
		return value, nil
	case float64:
		return number(value, path)
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole, nil
		}
		float, err := value.Float64()
		if err != nil {
			return nil, fmt.Errorf("%s: number %s is out of range", path, shortened(value.String(), 40))
		}
		return number(float, path)
	default:
		return nil, fmt.Errorf("%s has a value of type %T, which JSON does not have", path, value)
	}
}

// number writes whole numbers as integers: 3 and 3.0 are one value.
func number(value float64, path string) (any, error) {
	const exact = 1 << 53
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return nil, fmt.Errorf("%s is not a finite number", path)
	}
	if value == math.Trunc(value) && math.Abs(value) <= exact {
		return int64(value), nil
	}
	return value, nil
}
