package kubernetes

import (
	"cmp"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// place is a mount path of the container and the folder that stands for it on this machine.
type place struct{ mountPath, folder string }

// places are ordered so that the longest mount path comes first.
type places []place

func placesOf(container *corev1.Container, own podFolders) places {
	var list places
	for _, mount := range container.VolumeMounts {
		list = append(list, place{path.Clean(mount.MountPath), own.volumes[mount.Name]})
	}
	slices.SortFunc(list, func(a, b place) int { return cmp.Compare(len(b.mountPath), len(a.mountPath)) })
	return list
}

// rewrite puts folders in the place of mount paths, also inside of a longer text such as a shell script, but not where
// the mount path is only a part of another path's name.
func (p places) rewrite(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		found, ok := p.at(text, i)
		if !ok {
			out.WriteByte(text[i])
			i++
			continue
		}
		out.WriteString(found.folder)
		i += len(found.mountPath)
	}
	return out.String()
}

func (p places) at(text string, i int) (place, bool) {
	if text[i] != '/' || (i > 0 && inPath(text[i-1])) {
		return place{}, false
	}
	for _, candidate := range p {
		if !strings.HasPrefix(text[i:], candidate.mountPath) {
			continue
		}
		end := i + len(candidate.mountPath)
		if end == len(text) || text[end] == '/' || !inPath(text[end]) {
			return candidate, true
		}
	}
	return place{}, false
}

// inPath reports whether a byte continues the name of a file.
func inPath(c byte) bool {
	return c == '/' || c == '.' || c == '-' || c == '_' || c >= 0x80 ||
		(c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}

// expand replaces $(NAME) by the variable's value and $$ by $, as Kubernetes does in commands and values; a reference to
// a variable that does not exist stays as it is.
func expand(text string, values map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		if text[i+1] == '$' {
			out.WriteByte('$')
			i++
			continue
		}
		end := strings.IndexByte(text[i:], ')')
		if text[i+1] != '(' || end < 0 {
			out.WriteByte('$')
			continue
		}
		reference := text[i : i+end+1]
		if value, ok := values[reference[2:end]]; ok {
			reference = value
		}
		out.WriteString(reference)
		i += end
	}
	return out.String()
}
