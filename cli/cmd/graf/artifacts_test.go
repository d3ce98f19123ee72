package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

const theReport = "# Report"

// storing is a Graf whose task has an artifact; the links to it of its first answers
// have run out.
func storing(t *testing.T, runOut int32) {
	t.Helper()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/"):
			_, _ = fmt.Fprintf(w, `{"taskId":%q,"artifacts":[{"artifactId":%q,"name":"report.md","downloadUrl":"http://%s/storage/%d",`+
				`"sizeBytes":%d,"sha256":"%x"}]}`, someID, someID, r.Host, asked.Add(1), len(theReport), sha256.Sum256([]byte(theReport)))
		case r.URL.Path <= fmt.Sprintf("/storage/%d", runOut):
			http.Error(w, "<Message>Request has expired</Message>", http.StatusForbidden)
		default:
			_, _ = fmt.Fprint(w, theReport)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("GRAF_URL", server.URL)
	t.Setenv("GRAF_TOKEN", "x")
}

// Of a link that has run out a new one is asked for, once.
func TestDownloadLinkRunsOut(t *testing.T) {
	for runOut, want := range map[int32]int{0: 0, 1: 0, 2: exitRefused} {
		t.Run(fmt.Sprint(runOut), func(t *testing.T) {
			storing(t, runOut)
			folder := t.TempDir()
			s, out := plain("")
			status := run(t, s, "artifacts", someID, "--download", folder)
			if status != want {
				t.Fatalf("status %d, want %d: %s", status, want, out)
			}
			if want == 0 {
				if got, err := os.ReadFile(filepath.Join(folder, "report.md")); err != nil || string(got) != theReport {
					t.Errorf("downloaded %q, %v", got, err)
				}
				return
			}
			if said := out.String(); !strings.Contains(said, "download of report.md: Forbidden") || strings.Contains(said, "policy") {
				t.Errorf("said %s", said)
			}
		})
	}
}

// An artifact replaces a file that is there where that is said, and not otherwise.
func TestDownloadReplaces(t *testing.T) {
	storing(t, 0)
	folder := t.TempDir()
	path := filepath.Join(folder, "report.md")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		flags  []string
		status int
		is     string
	}{{nil, exitUsage, "mine"}, {[]string{"--force", "-o", "json"}, 0, theReport}} {
		s, out := plain("")
		if status := run(t, s, append([]string{"artifacts", someID, "--download", folder}, test.flags...)...); status != test.status {
			t.Errorf("%v: status %d: %s", test.flags, status, out)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != test.is {
			t.Errorf("%v: the file is %q, %v", test.flags, got, err)
		}
		if test.status != 0 {
			continue
		}
		var files []struct{ Name, Path string }
		if err := json.Unmarshal(out.Bytes(), &files); err != nil || len(files) != 1 || files[0].Path != path {
			t.Errorf("printed %s, %v", out, err)
		}
	}
}

// Progress is drawn where errors go, if that is a terminal.
func TestDownloadProgress(t *testing.T) {
	storing(t, 0)
	for _, live := range []bool{true, false} {
		for _, progress := range []bool{true, false} {
			var out, said bytes.Buffer
			s := streams{in: strings.NewReader(""), out: &out, err: &said, live: live, progress: progress, width: 100}
			if status := run(t, s, "artifacts", someID, "--download", t.TempDir()); status != 0 {
				t.Fatalf("status %d: %s", status, &said)
			}
			if strings.Contains(said.String(), "report.md 100%") != progress || strings.Contains(out.String(), "%") {
				t.Errorf("out is a terminal: %t, err is one: %t; drawn %q", live, progress, &said)
			}
		}
	}
}
