package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Write writes the image as an archive that docker load and ctr images import
// take. The file appears whole or not at all.
func Write(image v1.Image, reference name.Tag, file string) (err error) {
	unfinished, err := os.CreateTemp(filepath.Dir(file), ".image-*")
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(unfinished.Name()) // the error that counts is the other
		}
	}()
	err = errors.Join(tarball.Write(reference, image, unfinished), unfinished.Close())
	if err == nil {
		err = os.Rename(unfinished.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write the image to %s: %w", file, err)
	}
	return nil
}

// Push pushes the image unless the registry has it, with the credentials that
// docker login keeps, and gives its name by digest.
func Push(ctx context.Context, image v1.Image, reference name.Tag) (name.Digest, error) {
	digest, err := image.Digest()
	if err != nil {
		return name.Digest{}, fmt.Errorf("find the image's digest: %w", err)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if existing, err := remote.Head(reference, options...); err == nil && existing.Digest == digest {
		return reference.Digest(digest.String()), nil
	}
	if err := remote.Write(reference, image, options...); err != nil {
		return name.Digest{}, fmt.Errorf("push %s (is the registry reachable, and are you logged in to it?): %w", reference, err)
	}
	return reference.Digest(digest.String()), nil
}
