package graf

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

var errFull = errors.New("the disk is full")

// full is a writer that takes nothing.
type full struct{}

// Write implements io.Writer.
func (full) Write([]byte) (int, error) { return 0, errFull }

// What the writer of a download cannot take another download does not mend.
func TestDownloadToAFullDisk(t *testing.T) {
	t.Parallel()
	var downloads atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		downloads.Add(1)
		_, _ = w.Write([]byte("all of it"))
	}))
	t.Cleanup(server.Close)
	c, err := New(Options{BaseURL: server.URL, Token: StaticToken("token")})
	if err != nil {
		t.Fatal(err)
	}
	err = c.again(t.Context(), true, func() error {
		return c.DownloadArtifact(t.Context(), Artifact{Name: "f", DownloadURL: server.URL, SizeBytes: 9}, full{}, nil)
	})
	if !errors.Is(err, errFull) || downloads.Load() != 1 {
		t.Errorf("%d downloads: %v", downloads.Load(), err)
	}
}
