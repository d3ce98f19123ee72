package callback_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/s3test"
)

// large is an artifact of two parts.
var large = strings.Repeat("0123456789abcdef", artifact.UploadPartSize/16) + "the rest"

func sumOf(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

// announced is the path of an artifact that a task has announced.
func (w *world) announced(k task, size int, digest string) (path string) {
	w.t.Helper()
	body := fmt.Sprintf(`{"eventId":%q,"eventType":"artifact","artifacts":[{"name":"large","contentType":"text/plain","sizeBytes":%d,"sha256":%q}]}`,
		uuid.NewString(), size, digest)
	return strings.TrimSuffix(k.path(), "events") + "artifacts/" + w.post(k, body).Uploads[0].ArtifactID.String()
}

// parts asks for the parts of these numbers, as content has them.
func (w *world) parts(k task, path, content string, numbers ...int) api.ArtifactParts {
	w.t.Helper()
	var asked []string
	for _, number := range numbers {
		asked = append(asked, fmt.Sprintf(`{"partNumber":%d,"sha256":%q}`, number, sumOf(partOf(content, number))))
	}
	status, data := w.request(http.MethodPost, path+"/parts", k.token, `{"parts":[`+strings.Join(asked, ",")+`]}`)
	if status != http.StatusOK {
		w.t.Fatalf("status %d: %s", status, data)
	}
	return decode[api.ArtifactParts](w.t, data)
}

func partOf(content string, number int) string {
	begin := (number - 1) * artifact.UploadPartSize
	return content[begin:min(len(content), begin+artifact.UploadPartSize)]
}

func (w *world) sendParts(k task, path, content string, numbers ...int) {
	w.t.Helper()
	for _, upload := range w.parts(k, path, content, numbers...).Uploads {
		w.upload(api.Upload{Method: upload.Method, URL: upload.URL, Headers: upload.Headers}, partOf(content, upload.PartNumber))
	}
}

func (w *world) complete(k task, path string) (int, []byte) {
	w.t.Helper()
	return w.request(http.MethodPost, path+"/complete", k.token, "")
}

func TestUploadInParts(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	path := w.announced(k, len(large), sumOf(large))
	if got := w.parts(k, path, large); len(got.Stored) != 0 || got.PartCount != 2 || got.PartSizeBytes != artifact.UploadPartSize {
		t.Errorf("at first: %+v", got)
	}
	status, data := w.complete(k, path)
	wantProblem(t, status, data, problem.ErrConflict)
	w.sendParts(k, path, large, 2)
	stored := w.parts(k, path, large).Stored
	if len(stored) != 1 || stored[0].PartNumber != 2 || stored[0].SizeBytes != 8 || stored[0].Sha256 != sumOf("the rest") {
		t.Errorf("stored are %+v", stored)
	}
	status, data = w.complete(k, path)
	wantProblem(t, status, data, problem.ErrConflict)
	w.sendParts(k, path, large, 1, 2)
	for range 2 { // the second changes nothing
		if status, data := w.complete(k, path); status != http.StatusNoContent {
			t.Fatalf("status %d: %s", status, data)
		}
	}
	if got := one[string](w, "SELECT status FROM codex_task_artifacts"); got != "verified" {
		t.Errorf("the artifact is %s", got)
	}
	status, data = w.request(http.MethodPost, path+"/parts", k.token, `{"parts":[]}`)
	wantProblem(t, status, data, problem.ErrConflict)
}

// The parts' own digests may be right, and the whole one wrong.
func TestPartsOfAnotherArtifact(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	path := w.announced(k, len(large), sumOf("another"))
	w.sendParts(k, path, large, 1, 2)
	for range 2 {
		status, data := w.complete(k, path)
		wantProblem(t, status, data, problem.ErrConflict)
	}
	if got := one[string](w, "SELECT status || ': ' || status_reason FROM codex_task_artifacts"); !strings.HasPrefix(got, "rejected: ") {
		t.Errorf("the artifact is %s", got)
	}
}

func TestBadParts(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k, other := w.running(), w.running()
	path := w.announced(k, len(large), sumOf(large))
	within := strings.TrimSuffix(k.path(), "events") + "artifacts/"
	part := func(number int) string { return fmt.Sprintf(`{"partNumber":%d,"sha256":%q}`, number, helloSHA256) }
	for name, test := range map[string]struct {
		path, token, body string
		want              *problem.Kind
	}{
		"no token":           {path, "", `{"parts":[]}`, problem.ErrUnauthenticated},
		"an API token":       {path, apiToken, `{"parts":[]}`, problem.ErrForbidden},
		"another task":       {path, other.token, `{"parts":[]}`, problem.ErrForbidden},
		"no id":              {within + "7", k.token, `{"parts":[]}`, problem.ErrBadRequest},
		"no such artifact":   {within + uuid.NewString(), k.token, `{"parts":[]}`, problem.ErrNotFound},
		"no parts":           {path, k.token, `{}`, problem.ErrInvalid},
		"part 0":             {path, k.token, `{"parts":[` + part(0) + `]}`, problem.ErrInvalid},
		"a part too many":    {path, k.token, `{"parts":[` + part(3) + `]}`, problem.ErrInvalid},
		"no digest":          {path, k.token, `{"parts":[{"partNumber":1}]}`, problem.ErrInvalid},
		"too many at a time": {path, k.token, `{"parts":[` + strings.Repeat(part(1)+",", 100) + part(1) + `]}`, problem.ErrInvalid},
		"too large a body":   {path, k.token, `{"parts":[` + strings.Repeat(" ", api.MaxPartsBytes) + `]}`, problem.ErrTooLarge},
	} {
		status, data := w.request(http.MethodPost, test.path+"/parts", test.token, test.body)
		t.Run(name, func(t *testing.T) { wantProblem(t, status, data, test.want) })
	}
	status, data := w.request(http.MethodPost, path+"/complete", other.token, "")
	wantProblem(t, status, data, problem.ErrForbidden)
	// What another task has announced is not found by its id.
	status, data = w.request(http.MethodPost, strings.TrimSuffix(other.path(), "events")+path[len(within)-len("artifacts/"):]+"/complete", other.token, "")
	wantProblem(t, status, data, problem.ErrNotFound)
}

// A task's token outlives it, and its holder is told of the end. What was put together before stays answered.
func TestPartsOfAnEndedTask(t *testing.T) {
	t.Parallel()
	w := setup(t)
	k := w.running()
	done, path := w.announced(k, 5, helloSHA256), w.announced(k, len(large), sumOf(large))
	w.sendParts(k, done, "hello", 1)
	w.sendParts(k, path, large, 1, 2)
	if status, data := w.complete(k, done); status != http.StatusNoContent {
		t.Fatalf("status %d: %s", status, data)
	}
	w.move(k, "finalizing")
	w.parts(k, path, large)
	w.move(k, "failed")
	for _, operation := range []string{"/parts", "/complete"} {
		body := map[string]string{"/parts": `{"parts":[]}`}[operation]
		status, data := w.request(http.MethodPost, path+operation, k.token, body)
		if p := wantProblem(t, status, data, problem.ErrConflict); !strings.Contains(p.Detail, "ended as failed") {
			t.Errorf("%s: %q", operation, p.Detail)
		}
	}
	if status, data := w.complete(k, done); status != http.StatusNoContent {
		t.Errorf("what is verified: status %d: %s", status, data)
	}
	if got := one[string](w, "SELECT string_agg(status, ' ' ORDER BY event_sequence) FROM codex_task_artifacts"); got != "verified pending" {
		t.Errorf("the artifacts are %s", got)
	}
}

func TestPartsWithoutListBucket(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_S3_ENDPOINT", s3test.Unlisted(t))
	k := w.running()
	path := w.announced(k, 5, helloSHA256)
	status, data := w.complete(k, path)
	if p := wantProblem(t, status, data, problem.ErrConflict); !strings.Contains(p.Detail, "permission") {
		t.Errorf("detail %q", p.Detail)
	}
	w.sendParts(k, path, "hello", 1)
	if status, data := w.complete(k, path); status != http.StatusNoContent {
		t.Errorf("status %d: %s", status, data)
	}
}

func TestPartsWhileObjectStorageIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t, "GRAF_S3_ENDPOINT", "http://127.0.0.1:1")
	k := w.running()
	path := w.announced(k, len(large), sumOf(large))
	status, data := w.request(http.MethodPost, path+"/parts", k.token, `{"parts":[]}`)
	wantProblem(t, status, data, problem.ErrUnavailable)
	status, data = w.complete(k, path)
	wantProblem(t, status, data, problem.ErrUnavailable)
}
