package callback

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// presigner makes upload links; *artifact.Store is the real one.
type presigner interface {
	// PresignUpload needs no round trip.
	PresignUpload(ctx context.Context, key, contentType string, size int64, sha256 string) (artifact.Upload, error)
}

// postEvents takes a report. The token is looked at before the body is read.
func (h *handler) postEvents(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	reporter, err := h.reporter(ctx, r)
	if err != nil {
		return err
	}
	if err := h.validator.Parameters(r, api.OperationPostTaskEvents, nil); err != nil {
		return err
	}
	report, err := h.report(r, reporter)
	if err != nil {
		return err
	}
	receipt, err := h.recorder.Record(ctx, report)
	if err != nil {
		return err
	}
	accepted := api.EventsAccepted{Events: receipt.Events, BudgetSpent: receipt.BudgetSpent}
	if accepted.Uploads, err = h.links(ctx, receipt); err != nil {
		return err
	}
	access.Note(ctx, slog.Int("events", len(receipt.Events)), slog.Int("new", receipt.New))
	api.Answer(w, r, http.StatusAccepted, accepted)
	return nil
}

// reporter is who reports, if it is on its own task and not too often.
func (h *handler) reporter(ctx context.Context, r *http.Request) (Reporter, error) {
	reporter, err := h.reporters.Authenticate(ctx, r)
	if err != nil {
		return Reporter{}, err
	}
	id, err := api.TaskIDFrom(r)
	if err != nil {
		return Reporter{}, err
	}
	access.Note(ctx, slog.String("taskId", id.String()))
	if id != reporter.TaskID {
		return Reporter{}, problem.ErrForbidden.With("The token is that of another task.")
	}
	return reporter, h.rate.Admit(ctx, "task:"+id.String())
}

// report reads the events out of the body.
func (h *handler) report(r *http.Request, reporter Reporter) (Report, error) {
	single := singleEvent(r)
	events, err := h.validator.DecodeEvents(r, api.MaxEventsBytes)
	if err != nil {
		return Report{}, err
	}
	report, fields, err := newReport(reporter, events, h.config.Artifacts.MaxBytes)
	if err != nil {
		return Report{}, err
	}
	if single {
		for i := range fields {
			fields[i].Pointer = strings.TrimPrefix(fields[i].Pointer, "/0")
		}
	}
	if len(fields) > 0 {
		return Report{}, problem.ErrInvalid.Fields(fields...)
	}
	return report, nil
}

// singleEvent looks whether the body is one event by itself, whose fields'
// pointers have no index. It leaves the body to be read.
func singleEvent(r *http.Request) bool {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return false
	}
	body := bufio.NewReader(r.Body)
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	for n := 1; ; n++ {
		start, err := body.Peek(n)
		if err != nil {
			return false
		}
		switch start[n-1] {
		case ' ', '\t', '\r', '\n':
		default:
			return start[n-1] == '{'
		}
	}
}

// links presigns an upload for each artifact that waits for its bytes. This is
// local work: object storage may be away meanwhile.
func (h *handler) links(ctx context.Context, receipt Receipt) ([]api.Upload, error) {
	uploads := make([]api.Upload, 0, len(receipt.Uploads))
	for _, row := range receipt.Uploads {
		upload, err := h.uploads.PresignUpload(ctx, row.ObjectKey, row.ContentType, row.SizeBytes, hex.EncodeToString(row.Sha256))
		if err != nil {
			return nil, fmt.Errorf("upload of artifact %s: %w", row.ID, err)
		}
		uploads = append(uploads, api.Upload{
			EventID: eventIDOf(receipt, row), ArtifactID: row.ID, Name: row.Name,
			Method: api.UploadMethodPUT, URL: upload.URL, Headers: upload.Headers, ExpiresAt: upload.ExpiresAt,
		})
	}
	return uploads, nil
}

// eventIDOf is the id of the event that announced the artifact.
func eventIDOf(receipt Receipt, row query.ListUploadsRow) string {
	for _, e := range receipt.Events {
		if e.Sequence == row.EventSequence {
			return e.EventID
		}
	}
	return ""
}
