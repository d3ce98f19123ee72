package manifest

import (
	"fmt"
	"strings"
)

// MaxFilesBytes bounds the files that a task's resources become: what Kubernetes lets one ConfigMap hold, in bytes.
const MaxFilesBytes = 1 << 20

// maxFileName bounds a file's name, in bytes: what Kubernetes lets a ConfigMap's key have.
const maxFileName = 253

// File is a resource as YAML.
type File struct {
	Name string
	YAML string
}

// Files renders each resource as a file, for an execution to read. It fails if they are more than an execution can be
// given: whoever takes resources in checks them so, that they can be given out.
func Files(objects []Object) ([]File, error) {
	if len(objects) > MaxObjects {
		return nil, fmt.Errorf("are %d resources; at most %d can be handed to the agent", len(objects), MaxObjects)
	}
	files := make([]File, len(objects))
	total, stored := 0, 0
	for i, object := range objects {
		files[i] = File{Name: fileName(i+1, object.Ref), YAML: object.YAML()}
		total += len(files[i].YAML)
		stored += len(object.bytes) + 1
	}
	if total > MaxFilesBytes {
		return nil, fmt.Errorf("are %d bytes as YAML; at most %d can be handed to the agent", total, MaxFilesBytes)
	}
	if stored >= MaxBytes {
		return nil, fmt.Errorf("are %d bytes in canonical form; at most %d can be read again", stored, MaxBytes-1)
	}
	return files, nil
}

// fileName is a name that a ConfigMap takes as a key, whatever the resource is called: system:node keeps its meaning as
// system-node. The number keeps names apart that were cut or changed.
func fileName(number int, ref Ref) string {
	const extension = ".yaml"
	name := fmt.Sprintf("%02d-%s-%s", number, strings.ToLower(ref.Kind), ref.Name)
	name = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), maxFileName-len(extension))] + extension
}
