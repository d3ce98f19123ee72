package finalize

import (
	"fmt"
	"testing"

	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/postgres/query"
)

// What storage does wrong rejects nothing: the end waits for it.
func TestWhatRejectsAnArtifact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		size int64
		want bool
	}{
		{nil, 1, false},
		{artifact.ErrMissing, 1, true},
		{artifact.ErrSizeMismatch, 1, true},
		{artifact.ErrDigestMismatch, 1, true},
		{artifact.ErrRefused, 1, false},
		{artifact.ErrUnavailable, 1, false},
		{artifact.ErrUnavailable, artifact.UploadPartSize + 1, false},
		{artifact.ErrSlow, 1, false},
		{artifact.ErrSlow, artifact.UploadPartSize, false},
		{artifact.ErrSlow, artifact.UploadPartSize + 1, true},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("key: %w", err)
		}
		if got := rejects(query.Artifact{SizeBytes: c.size}, err); got != c.want {
			t.Errorf("%v of %d bytes rejects: %v, want %v", err, c.size, got, c.want)
		}
	}
}
