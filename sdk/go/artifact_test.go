package graf_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

// impatient is a client with little time for each try.
func impatient(t *testing.T, address string) *graf.Client {
	t.Helper()
	c, err := graf.New(graf.Options{
		BaseURL: address, Token: graf.StaticToken("token"), Timeout: 50 * time.Millisecond,
		Retry: graf.Retry{Attempts: 3, Base: time.Millisecond, Max: time.Millisecond},
	})
	must(t, err)
	return c
}

// artifactOf has this content at the address.
func artifactOf(address, content string) graf.Artifact {
	return graf.Artifact{
		Name: "report.md", DownloadURL: address, SizeBytes: int64(len(content)), Sha256: fmt.Sprintf("%x", sha256.Sum256([]byte(content))),
	}
}

// A storage that stands still is given up and asked again, as often as other calls.
func TestStorageStandsStill(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			fmt.Fprintf(w, `{"uploads":[{"method":"PUT","url":"http://%s/put"}]}`, r.Host)
			return
		case http.MethodGet:
			fmt.Fprint(w, "half of")
			_ = http.NewResponseController(w).Flush()
		default:
			_, _ = io.Copy(io.Discard, r.Body) // until then the server does not see that its client goes away
		}
		tries.Add(1)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	c := impatient(t, server.URL)
	_, err := c.UploadArtifact(within(t), uuid.Nil, graf.File{Name: "f", Content: bytes.NewReader([]byte("all of it")), Size: 9})
	if err == nil || tries.Swap(0) != 3 {
		t.Errorf("upload: %v", err)
	}
	_, err = c.DownloadFile(within(t), artifactOf(server.URL, "half of it"), t.TempDir(), nil)
	if !errors.Is(err, graf.ErrBrokenOff) || !strings.Contains(err.Error(), "nothing has come") || tries.Load() != 3 {
		t.Errorf("download: %d tries, %v", tries.Load(), err)
	}
}

// slow is a writer that takes its time.
type slow struct{ bytes.Buffer }

// Write implements io.Writer.
func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(time.Hour)
	return s.Buffer.Write(p)
}

// Whoever writes a download may take longer than the storage may stand still.
func TestDownloadToASlowWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := graf.New(graf.Options{
			BaseURL: "http://graf.example", Token: graf.StaticToken("token"),
			HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				body := lasting{io.MultiReader(strings.NewReader("all "), strings.NewReader("of it")), time.Second}
				return &http.Response{StatusCode: http.StatusOK, Body: heeding{io.NopCloser(body), r}}, nil
			})},
		})
		must(t, err)
		var to slow
		must(t, c.DownloadArtifact(t.Context(), artifactOf("http://storage.example", "all of it"), &to, nil))
		if to.String() != "all of it" {
			t.Errorf("got %q", to.String())
		}
	})
}

// heeding is a body that ends with its request, as those of net/http do.
type heeding struct {
	io.ReadCloser
	request *http.Request
}

// Read implements io.Reader.
func (h heeding) Read(p []byte) (int, error) {
	if err := h.request.Context().Err(); err != nil {
		return 0, err
	}
	return h.ReadCloser.Read(p)
}
