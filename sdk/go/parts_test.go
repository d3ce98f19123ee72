package graf_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

const mebibyte = 1 << 20

// noise is content of which no two parts are alike.
func noise(size int) []byte {
	content := make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(content) // never fails
	return content
}

// working is a task that runs until the test ends, and its token.
func working(t *testing.T) (uuid.UUID, graf.TokenSource) {
	t.Helper()
	c := client(t)
	gate := filepath.Join(t.TempDir(), "gate")
	created, err := c.Submit(within(t), shell("Wait for the gate.", `until [ -e '`+gate+`' ]; do sleep 0.05; done`))
	must(t, err)
	t.Cleanup(func() { _ = os.WriteFile(gate, nil, 0o600) })
	awaitRunning(t, c, created.TaskID)
	return created.TaskID, graf.StaticToken(created.Callback.Token)
}

// uploader is a task's client, which sends by the transport.
func uploader(t *testing.T, token graf.TokenSource, transport http.RoundTripper, change func(*graf.Options)) *graf.Client {
	t.Helper()
	options := graf.Options{
		BaseURL: os.Getenv("GRAF_URL"), Token: token, HTTPClient: &http.Client{Transport: transport}, PartsAbove: mebibyte,
	}
	if change != nil {
		change(&options)
	}
	c, err := graf.New(options)
	must(t, err)
	return c
}

// wantArtifact downloads a task's only artifact, which verifies its size and SHA-256.
func wantArtifact(t *testing.T, id uuid.UUID, content []byte) {
	t.Helper()
	task, err := client(t).Task(within(t), id)
	must(t, err)
	if len(task.Artifacts) != 1 {
		t.Fatalf("artifacts: %+v", task.Artifacts)
	}
	var got bytes.Buffer
	must(t, client(t).DownloadArtifact(within(t), task.Artifacts[0], &got, nil))
	if !bytes.Equal(got.Bytes(), content) {
		t.Errorf("downloaded %d bytes, which are others", got.Len())
	}
}

// puts counts the requests that send to object storage.
type puts struct {
	count atomic.Int32
	// last, if it is set, sends the third part, once the other two are there.
	last  http.RoundTripper
	ready sync.WaitGroup
}

// RoundTrip implements http.RoundTripper.
func (p *puts) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPut {
		return http.DefaultTransport.RoundTrip(r)
	}
	p.count.Add(1)
	if p.last == nil {
		return http.DefaultTransport.RoundTrip(r)
	}
	if r.URL.Query().Get("partNumber") == "3" {
		p.ready.Wait()
		return p.last.RoundTrip(r)
	}
	defer p.ready.Done()
	return http.DefaultTransport.RoundTrip(r)
}

// What is larger than 64 MiB is sent in parts, without being asked for.
func TestUploadOfALargeFile(t *testing.T) {
	t.Parallel()
	id, token := working(t)
	transport := &puts{}
	c := uploader(t, token, transport, func(o *graf.Options) { o.PartsAbove = 0 })
	content := noise(64*mebibyte + 7)
	var mu sync.Mutex
	var last, most int64
	_, err := c.UploadArtifact(within(t), id, graf.File{
		Name: "large.bin", Content: bytes.NewReader(content), Size: int64(len(content)),
		Progress: func(sent, size int64) {
			mu.Lock()
			defer mu.Unlock()
			last, most = sent, max(most, sent)
			if size != int64(len(content)) {
				t.Errorf("the size is told as %d", size)
			}
		},
	})
	must(t, err)
	if n := transport.count.Load(); n != 5 {
		t.Errorf("sent in %d parts, want 5", n)
	}
	if last != int64(len(content)) || most != last {
		t.Errorf("progress ended at %d, with %d at the most", last, most)
	}
	wantArtifact(t, id, content)
}

// cutting goes by a proxy that drops the first connections after so many bytes.
func cutting(t *testing.T, connections int, after int64) *http.Transport {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	targets := make(chan string, 100)
	go func() {
		for n := 0; ; n++ {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			limit := int64(1 << 40)
			if n < connections {
				limit = after
			}
			go pass(t.Context(), from, <-targets, limit)
		}
	}()
	var dialer net.Dialer
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(os.Getenv("GRAF_URL"), address) {
			return dialer.DialContext(ctx, network, address)
		}
		targets <- address
		return dialer.DialContext(ctx, network, listener.Addr().String())
	}}
}

// pass copies both ways, and drops both connections after limit bytes to the target.
func pass(ctx context.Context, from net.Conn, target string, limit int64) {
	to, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		_ = from.Close()
		return
	}
	go func() { _, _ = io.Copy(from, to) }()
	_, _ = io.CopyN(to, from, limit)
	_, _ = from.Close(), to.Close()
}

// Parts whose connection is dropped are sent again, by themselves.
func TestUploadIsCut(t *testing.T) {
	t.Parallel()
	id, token := working(t)
	c := uploader(t, token, cutting(t, 2, 3*mebibyte), nil)
	content := noise(40 * mebibyte)
	_, err := c.UploadArtifact(within(t), id, graf.File{Name: "cut.bin", Content: bytes.NewReader(content), Size: int64(len(content))})
	must(t, err)
	wantArtifact(t, id, content)
}

// An upload that failed altogether goes on with what is missing.
func TestUploadIsResumed(t *testing.T) {
	t.Parallel()
	id, token := working(t)
	transport := &puts{last: cutting(t, 100, 3*mebibyte)}
	transport.ready.Add(2)
	c := uploader(t, token, transport, func(o *graf.Options) { o.Retry.Attempts = 1 })
	content := noise(40 * mebibyte)
	file := graf.File{Name: "resumed.bin", EventID: "resumed", Content: bytes.NewReader(content), Size: int64(len(content))}
	if _, err := c.UploadArtifact(within(t), id, file); err == nil {
		t.Fatal("the upload did not fail")
	}
	if n := transport.count.Load(); n != 3 {
		t.Errorf("%d parts were sent at first", n)
	}
	rest := &puts{}
	var first int64
	file.Progress = func(sent, _ int64) {
		if first == 0 {
			first = sent
		}
	}
	_, err := uploader(t, token, rest, nil).UploadArtifact(within(t), id, file)
	must(t, err)
	if n := rest.count.Load(); n != 1 || first < 16*mebibyte {
		t.Errorf("%d parts were sent again, and progress began at %d", n, first)
	}
	wantArtifact(t, id, content)
}

// other is content that is another from some reading on.
type other struct {
	*bytes.Reader
	readings, same int64
	// short says that it ends rather than change.
	short bool
}

// ReadAt implements io.ReaderAt.
func (o *other) ReadAt(p []byte, at int64) (int, error) {
	n, err := o.Reader.ReadAt(p, at)
	if atomic.AddInt64(&o.readings, int64(n)) > o.same && n > 0 {
		if o.short {
			return 0, io.EOF
		}
		p[0]++
	}
	return n, err
}

// A file that changes is never taken for what it was.
func TestUploadInPartsOfAChangingFile(t *testing.T) {
	t.Parallel()
	id, token := working(t)
	c := uploader(t, token, nil, nil)
	content := noise(20 * mebibyte)
	for name, file := range map[string]*other{
		"changed": {same: 25 * mebibyte}, "cut off": {same: 25 * mebibyte, short: true}, "cut off at once": {same: mebibyte, short: true},
	} {
		file.Reader = bytes.NewReader(content)
		_, err := c.UploadArtifact(within(t), id, graf.File{Name: "changing.bin", Content: file, Size: file.Size()})
		if !errors.Is(err, graf.ErrChanged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	task, err := client(t).Task(within(t), id)
	must(t, err)
	if len(task.Artifacts) != 0 {
		t.Errorf("artifacts: %+v", task.Artifacts)
	}
}
