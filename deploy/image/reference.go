package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// LocalRegistry is the registry part of images that are loaded into a cluster
// rather than pushed: Knative does not look their tags up.
const LocalRegistry = "dev.local"

// digestLength is how many hexadecimal digits of the digest a tag has.
const digestLength = 12

// Reference names an image after its content: REGISTRY/NAME:DIGEST. The digest is
// that of its configuration, which names all its content and does not depend on
// how it is compressed. A name that has a slash or a tag of its own keeps it.
func Reference(image v1.Image, registry, repository string) (name.Tag, error) {
	digest, err := image.ConfigName()
	if err != nil {
		return name.Tag{}, fmt.Errorf("find the image's digest: %w", err)
	}
	reference := repository
	if !strings.Contains(reference, "/") {
		reference = registry + "/" + reference
	}
	if last := reference[strings.LastIndexByte(reference, '/'):]; !strings.Contains(last, ":") {
		reference += ":" + digest.Hex[:digestLength]
	}
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("the image's name: %w", err)
	}
	return tag, nil
}
