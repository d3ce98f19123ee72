package artifact

import (
	"fmt"
	"path"
	"strings"
)

// maxName is the most bytes of an artifact's name.
const maxName = 255

// names gives each file its artifact's name.
type names struct {
	mask func(string) string
	used map[string]bool
}

// of is the name for a file: its path without secrets, in the characters that names may
// have, with _ for others. Where two files would have the same name, the later one gets
// a number.
func (n names) of(file string) string {
	clean := strings.TrimLeft(strings.Map(allowed, n.mask(file)), "-.")
	if clean == "" {
		clean = "file"
	}
	if len(clean) > maxName { // the end tells more: it is the file's own name
		clean = strings.TrimLeft(clean[len(clean)-maxName:], "-.")
	}
	name := clean
	for i := 2; n.used[name]; i++ {
		ending := path.Ext(clean)
		if len(ending) > maxName/2 {
			ending = ""
		}
		number := fmt.Sprintf("-%d", i)
		stem := strings.TrimSuffix(clean, ending)
		name = stem[:min(len(stem), maxName-len(number)-len(ending))] + number + ending
	}
	n.used[name] = true
	return name
}

func allowed(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
		return r
	}
	return '_'
}
