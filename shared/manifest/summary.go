package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
)

// maxPhrases bounds the fields that a summary names for one resource.
const maxPhrases = 12

// maxPhraseValue bounds a value in a summary, in bytes.
const maxPhraseValue = 80

// summarize says in one line what changed: "Deployment graf/web: container app memory limit 128Mi → 256Mi".
func summarize(change Change, p Pair) string {
	switch change.Op {
	case Created:
		return change.Ref.String() + " created" + details(p.After)
	case Deleted:
		return change.Ref.String() + " deleted" + details(p.Before)
	case Modified:
	}
	phrases := make([]string, 0, len(change.Fields))
	for i, field := range change.Fields {
		if i == maxPhrases {
			phrases = append(phrases, fmt.Sprintf("and %d more", len(change.Fields)-maxPhrases))
			break
		}
		phrases = append(phrases, phrase(field))
	}
	return change.Ref.String() + ": " + strings.Join(phrases, "; ")
}

// details names the images of a whole resource, which tell most about it.
func details(object *Object) string {
	var images []string
	findImages(object.content, &images)
	if len(images) == 0 {
		return ""
	}
	slices.Sort(images)
	images = slices.Compact(images)
	return " with image " + joinPhrases(images[:min(len(images), 4)], ", ", 4*maxPhraseValue)
}

func findImages(value any, found *[]string) {
	switch value := value.(type) {
	case map[string]any:
		if image, ok := value["image"].(string); ok {
			*found = append(*found, shortened(image, maxPhraseValue))
		}
		for _, item := range value {
			findImages(item, found)
		}
	case []any:
		for _, item := range value {
			findImages(item, found)
		}
	}
}

func phrase(field Field) string {
	subject := subjectOf(field.steps)
	switch {
	case field.Old == nil:
		return subject + " added: " + inline(field.New)
	case field.New == nil:
		return subject + " removed (was " + inline(field.Old) + ")"
	default:
		return subject + " " + inline(field.Old) + " → " + inline(field.New)
	}
}

// inline writes a value on one line.
func inline(value any) string {
	text, isText := value.(string)
	if !isText {
		encoded, err := encode(value)
		if err != nil {
			return "?"
		}
		text = string(encoded)
	}
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return `""`
	}
	return shortened(text, maxPhraseValue)
}

// itemNames are the singular names of lists.
var itemNames = map[string]string{
	"containers": "container", "initContainers": "init container", "ephemeralContainers": "ephemeral container",
	"volumes": "volume", "volumeMounts": "volume mount", "env": "env", "envFrom": "env from", "ports": "port",
	"labels": "label", "annotations": "annotation", "rules": "rule", "tolerations": "toleration",
	"filters": "filter", "subjects": "subject", "metrics": "metric", "conditions": "condition",
}

// unsaid are the keys that tell nothing to people who know the kind of resource.
var unsaid = map[string]bool{"spec": true, "metadata": true, "template": true}

// subjectOf says a path in words: spec.template.spec.containers[name=app].resources.limits.memory is
// "container app memory limit".
func subjectOf(path []step) string {
	words := make([]string, 0, len(path))
	for i := 0; i < len(path); i++ {
		name, last := path[i].name, i == len(path)-1
		switch {
		case path[i].list:
			words = append(words, name)
		case i > 0 && keysAreData(path[i-1].name):
			words = append(words, name)
		case name == "resources" && i+2 < len(path) && (path[i+1].name == "limits" || path[i+1].name == "requests"):
			words = append(words, path[i+2].name, strings.TrimSuffix(path[i+1].name, "s"))
			i += 2
		case itemNames[name] != "" && !last:
			words = append(words, itemNames[name])
		case unsaid[name] && !last, name == "value" && last && i > 0:
		default:
			words = append(words, spaced(name))
		}
	}
	return strings.Join(words, " ")
}

// keysAreData says whether a map's keys are names that are not to be taken apart.
func keysAreData(name string) bool {
	switch name {
	case "labels", "annotations", "data", "matchLabels", "nodeSelector", "selector", "binaryData":
		return true
	}
	return false
}

// spaced takes camelCase apart: initialDelaySeconds is "initial delay seconds".
func spaced(name string) string {
	var words strings.Builder
	var previous rune
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(previous) {
			words.WriteByte(' ')
			words.WriteRune(unicode.ToLower(r))
		} else {
			words.WriteRune(r)
		}
		previous = r
	}
	return words.String()
}

// joinPhrases joins what fits into most bytes and says how many did not.
func joinPhrases(phrases []string, separator string, most int) string {
	var joined strings.Builder
	for i, phrase := range phrases {
		left := fmt.Sprintf("%sand %d more", separator, len(phrases)-i)
		if joined.Len()+len(separator)+len(phrase)+len(left) > most && i > 0 {
			joined.WriteString(left)
			break
		}
		if i > 0 {
			joined.WriteString(separator)
		}
		joined.WriteString(shortened(phrase, most-len(left)))
	}
	return joined.String()
}

// summarizeText names the files of a unified diff and counts its lines.
func summarizeText(text string) string {
	var files []string
	added, removed := 0, 0
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "+++ ") || strings.HasPrefix(line, "--- "):
			file, _, _ := strings.Cut(strings.TrimSpace(line[4:]), "\t")
			if file != "" && file != "/dev/null" && !slices.Contains(files, path.Base(file)) && len(files) < 20 {
				files = append(files, path.Base(file))
			}
		case line[0] == '+':
			added++
		case line[0] == '-':
			removed++
		}
	}
	summary := fmt.Sprintf("diff of %d lines added and %d removed", added, removed)
	if len(files) > 0 {
		summary += " in " + joinPhrases(files, ", ", MaxSummary/2)
	}
	return summary
}
