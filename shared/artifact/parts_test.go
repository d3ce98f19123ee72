package artifact

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/s3test"
)

// inParts is an artifact of three parts.
var inParts = strings.Repeat("0123456789abcdef", 2*UploadPartSize/16) + "the rest"

func partOf(content string, number int) (Part, string) {
	size := int64(len(content))
	begin := int64(number-1) * UploadPartSize
	bytes := content[begin : begin+PartSizeOf(size, number)]
	return Part{Number: number, Size: int64(len(bytes)), SHA256: sumOf(bytes)}, bytes
}

// sendPart uploads a part that is signed as sent.
func sendPart(t *testing.T, store *Store, key string, part Part, bytes string) int {
	t.Helper()
	under, err := store.Parts(t.Context(), key, "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	upload, err := store.PresignPart(t.Context(), under, part)
	if err != nil {
		t.Fatal(err)
	}
	return put(t, upload, bytes, nil)
}

// Parts come in any order, one of them twice, and are put together once.
func TestUploadInParts(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	key, size := Key("task", "parts"), int64(len(inParts))
	if err := store.Complete(t.Context(), key, size); !errors.Is(err, ErrMissing) {
		t.Errorf("of nothing: %v, want ErrMissing", err)
	}
	for i, number := range []int{3, 1, 1, 2} {
		if err := store.Complete(t.Context(), key, size); i > 0 && !errors.Is(err, ErrIncomplete) {
			t.Errorf("of some parts: %v, want ErrIncomplete", err)
		}
		part, bytes := partOf(inParts, number)
		if status := sendPart(t, store, key, part, bytes); status != http.StatusOK {
			t.Fatalf("part %d: status %d", number, status)
		}
	}
	under, err := store.Parts(t.Context(), key, "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	for i, stored := range under.Stored {
		if want, _ := partOf(inParts, i+1); stored != want {
			t.Errorf("stored is %+v, want %+v", stored, want)
		}
	}
	for range 2 { // the second changes nothing
		if err := store.Complete(t.Context(), key, size); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Verify(t.Context(), key, size, sumOf(inParts)); err != nil {
		t.Error(err)
	}
	if err := store.Verify(t.Context(), key, size, sumOf("other")); !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("another digest gives %v", err)
	}
}

// The store refuses a part of other bytes, or of more, than were signed.
func TestPartsThatAreNotAsAnnounced(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	key := Key("task", "wrong")
	part, bytes := partOf(inParts, 3)
	for name, sent := range map[string]string{"other": strings.ToUpper(bytes), "more": bytes + "!", "fewer": bytes[1:]} {
		if status := sendPart(t, store, key, part, sent); status < 400 {
			t.Errorf("%s bytes: status %d", name, status)
		}
	}
	if status := sendPart(t, store, key, part, bytes); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	// As the only part of an artifact that has one of another size.
	short := Part{Number: 1, Size: part.Size, SHA256: part.SHA256}
	if status := sendPart(t, store, key, short, bytes); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if err := store.Complete(t.Context(), key, part.Size+1); !errors.Is(err, ErrIncomplete) {
		t.Errorf("too short a part: %v, want ErrIncomplete", err)
	}
	if _, err := store.PresignPart(t.Context(), PartUpload{key: key}, Part{Number: 1, Size: 1, SHA256: "x"}); err == nil {
		t.Error("a part without a digest is signed")
	}
}

func TestAbortUploads(t *testing.T) {
	t.Parallel()
	bucket := s3test.New(t)
	store, err := New(newConfig(bucket))
	if err != nil {
		t.Fatal(err)
	}
	key := Key("task", "left")
	part, bytes := partOf("short", 1)
	sendPart(t, store, key, part, bytes)
	if n, err := store.AbortUploads(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("%d aborted too early, %v", n, err)
	}
	if n, err := store.AbortUploads(t.Context(), -time.Hour); n != 1 || err != nil {
		t.Errorf("%d aborted, %v", n, err)
	}
	for upload := range bucket.Client.ListIncompleteUploads(t.Context(), bucket.Name, "", true) {
		t.Errorf("the upload of %s is left", upload.Key)
	}
	if err := store.Complete(t.Context(), key, part.Size); !errors.Is(err, ErrMissing) {
		t.Errorf("what was aborted is completed: %v", err)
	}
}

// AWS does not tell what is missing from what is forbidden to who may not list the bucket: an upload in parts is put
// together all the same, and nothing is taken for missing that may be there.
func TestPartsWithoutListBucket(t *testing.T) {
	t.Parallel()
	config := newConfig(s3test.New(t))
	config.Endpoint = s3test.Unlisted(t)
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	key, content := Key("task", "parts"), "a short one"
	for name, check := range map[string]func() error{
		"Verify":   func() error { return store.Verify(t.Context(), key, int64(len(content)), sumOf(content)) },
		"Complete": func() error { return store.Complete(t.Context(), key, int64(len(content))) },
	} {
		if err := check(); !errors.Is(err, ErrRefused) || errors.Is(err, ErrMissing) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%s of nothing: %v, want ErrRefused", name, err)
		}
	}
	part, bytes := partOf(content, 1)
	if status := sendPart(t, store, key, part, bytes); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	for range 2 {
		if err := store.Complete(t.Context(), key, int64(len(content))); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Verify(t.Context(), key, int64(len(content)), sumOf(content)); err != nil {
		t.Error(err)
	}
}

func TestPartsWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	config := newConfig(s3test.New(t))
	config.Endpoint = "http://127.0.0.1:1"
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	_, parts := store.Parts(t.Context(), "key", "text/plain")
	_, abort := store.AbortUploads(t.Context(), 0)
	for _, err := range []error{parts, abort, store.Complete(t.Context(), "key", 1)} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want %v", err, ErrUnavailable)
		}
	}
}

func TestPartSizes(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64][]int64{
		0: {0}, 1: {1}, UploadPartSize: {UploadPartSize}, UploadPartSize + 1: {UploadPartSize, 1},
	} {
		if PartCount(size) != len(want) {
			t.Errorf("%d bytes are %d parts", size, PartCount(size))
		}
		for i := range want {
			if got := PartSizeOf(size, i+1); got != want[i] {
				t.Errorf("part %d of %d bytes has %d", i+1, size, got)
			}
		}
	}
	if PartCount(maxPut) != 320 {
		t.Errorf("the most is %d parts", PartCount(maxPut))
	}
}

// slow gives a few bytes at a time.
type slow struct{ io.ReadCloser }

// Read implements io.Reader.
func (s slow) Read(buffer []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.ReadCloser.Read(buffer[:min(len(buffer), 4<<10)])
}

// An artifact that cannot be read in time is told from a store that is away.
func TestVerifySlowly(t *testing.T) {
	t.Parallel()
	config := newConfig(s3test.New(t))
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	key := Key("task", "slow")
	content := strings.Repeat("0123456789", 1_200_000)
	if _, err := store.Write(t.Context(), key, "text/plain", strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ModifyResponse: func(response *http.Response) error {
			response.Body = slow{response.Body}
			return nil
		},
	})
	t.Cleanup(proxy.Close)
	config.Endpoint = proxy.URL
	if store, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := store.Verify(ctx, key, int64(len(content)), sumOf(content)); !errors.Is(err, ErrSlow) || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want %v", err, ErrSlow)
	}
}
