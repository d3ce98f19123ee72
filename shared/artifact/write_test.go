package artifact

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/minio/minio-go/v7"

	"github.com/graf-run/graf/shared/s3test"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	for name, content := range map[string]string{
		"empty": "", "small": "what the agent said\n", "just small": strings.Repeat("a", smallObject),
		"a byte more": strings.Repeat("a", smallObject+1), "parts": strings.Repeat("0123456789", 1_200_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := Key("task", strings.ReplaceAll(name, " ", "-"))
			for range 2 { // the second replaces the first
				written, err := store.Write(t.Context(), key, "text/plain; charset=utf-8", strings.NewReader(content))
				if err != nil {
					t.Fatal(err)
				}
				if written.Size != int64(len(content)) || hex.EncodeToString(written.SHA256) != sumOf(content) {
					t.Errorf("%d bytes with digest %x", written.Size, written.SHA256)
				}
				if err := store.Verify(t.Context(), key, written.Size, hex.EncodeToString(written.SHA256)); err != nil {
					t.Error(err)
				}
			}
			for range 2 { // once more is no error
				if err := store.Remove(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.Verify(t.Context(), key, 0, sumOf("")); !errors.Is(err, ErrMissing) {
				t.Errorf("after its removal: %v, want %v", err, ErrMissing)
			}
		})
	}
}

// What breaks off leaves neither an object nor parts of one.
func TestWriteThatBreaksOff(t *testing.T) {
	t.Parallel()
	bucket := s3test.New(t)
	store, err := New(newConfig(bucket))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	for _, size := range []int{0, 100, smallObject, partSize + 100} {
		content := io.MultiReader(strings.NewReader(strings.Repeat("a", size)), iotest.ErrReader(broken))
		if _, err := store.Write(t.Context(), "key", "text/plain", content); !errors.Is(err, broken) || errors.Is(err, ErrUnavailable) {
			t.Errorf("after %d bytes: got %v, want %v", size, err, broken)
		}
	}
	for object := range bucket.Client.ListObjects(t.Context(), bucket.Name, minio.ListObjectsOptions{}) {
		t.Errorf("%s is left", object.Key)
	}
	for upload := range bucket.Client.ListIncompleteUploads(t.Context(), bucket.Name, "", true) {
		t.Errorf("parts of %s are left", upload.Key)
	}
}

func TestWriteWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	config := newConfig(s3test.New(t))
	config.Endpoint = "http://127.0.0.1:1"
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 2 * smallObject} {
		_, err := store.Write(t.Context(), "key", "text/plain", strings.NewReader(strings.Repeat("a", size)))
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want %v", err, ErrUnavailable)
		}
	}
	if err := store.Remove(t.Context(), "key"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want %v", err, ErrUnavailable)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Write(ctx, "key", "text/plain", strings.NewReader("a")); err == nil {
		t.Error("written although it was given up")
	}
}
