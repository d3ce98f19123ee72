package callback

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/telemetry"
)

// maxChecks is how many artifacts one instance reads at a time to check them; more wait.
const maxChecks = 4

// Parts has artifacts uploaded in parts.
type Parts struct {
	pool  *pgxpool.Pool
	store *artifact.Store
	log   *slog.Logger
	// checks has room for those that are read.
	checks chan struct{}
}

// NewParts makes it; it does no I/O.
func NewParts(pool *pgxpool.Pool, store *artifact.Store, log *slog.Logger) *Parts {
	return &Parts{pool: pool, store: store, log: log, checks: make(chan struct{}, maxChecks)}
}

// Offer tells which parts of an artifact are there, and signs a request for each part that is asked for. It fails with
// problem.ErrNotFound, problem.ErrConflict once the artifact was checked or the task has ended, problem.ErrInvalid for a part that it does not
// have, and problem.ErrUnavailable while object storage is away.
func (p *Parts) Offer(ctx context.Context, task, id uuid.UUID, asked []api.PartDeclaration) (api.ArtifactParts, error) {
	row, err := p.find(ctx, task, id)
	if err != nil {
		return api.ArtifactParts{}, err
	}
	if row.Status != "pending" {
		return api.ArtifactParts{}, checked(row)
	}
	answer := api.ArtifactParts{
		PartSizeBytes: artifact.UploadPartSize, PartCount: artifact.PartCount(row.SizeBytes),
		Stored: []api.StoredPart{}, Uploads: []api.PartUpload{},
	}
	for i, part := range asked {
		if part.PartNumber > answer.PartCount {
			return api.ArtifactParts{}, problem.ErrInvalid.Fields(problem.FieldError{
				Pointer: "/parts/" + strconv.Itoa(i) + "/partNumber", Detail: fmt.Sprintf("must be at most %d here", answer.PartCount),
			})
		}
	}
	upload, err := p.store.Parts(ctx, row.ObjectKey, row.ContentType)
	if err != nil {
		return api.ArtifactParts{}, p.storage(ctx, err)
	}
	for _, part := range upload.Stored {
		answer.Stored = append(answer.Stored, api.StoredPart{PartNumber: part.Number, SizeBytes: part.Size, Sha256: part.SHA256})
	}
	for _, part := range asked {
		size := artifact.PartSizeOf(row.SizeBytes, part.PartNumber)
		signed, err := p.store.PresignPart(ctx, upload, artifact.Part{Number: part.PartNumber, Size: size, SHA256: part.Sha256})
		if err != nil {
			return api.ArtifactParts{}, fmt.Errorf("part %d of artifact %s: %w", part.PartNumber, id, err)
		}
		answer.Uploads = append(answer.Uploads, api.PartUpload{
			PartNumber: part.PartNumber, SizeBytes: size,
			Method: api.UploadMethodPUT, URL: signed.URL, Headers: signed.Headers, ExpiresAt: signed.ExpiresAt,
		})
	}
	return answer, nil
}

// Complete puts an artifact together and checks it. It fails with problem.ErrNotFound, problem.ErrConflict if parts are
// missing, the bytes are not what was announced, object storage refuses or the task has ended, and problem.ErrUnavailable, after which the same may be tried again.
func (p *Parts) Complete(ctx context.Context, task, id uuid.UUID) (err error) {
	ctx, span := telemetry.Start(ctx, "complete artifact")
	defer telemetry.End(span, &err)
	row, err := p.find(ctx, task, id)
	switch {
	case err != nil:
		return err
	case row.Status == "verified":
		return nil
	case row.Status != "pending":
		return checked(row)
	}
	if err := p.store.Complete(ctx, row.ObjectKey, row.SizeBytes); err != nil {
		return p.storage(ctx, err)
	}
	return p.check(ctx, row)
}

// check reads the artifact, and notes what came of it. finalize does so with those of which nothing is noted.
func (p *Parts) check(ctx context.Context, row query.Artifact) error {
	select {
	case p.checks <- struct{}{}:
		defer func() { <-p.checks }()
	case <-ctx.Done():
		return problem.ErrUnavailable.With("Other artifacts are being checked; try again.")
	}
	status, reason := "verified", ""
	wrong := p.store.Verify(ctx, row.ObjectKey, row.SizeBytes, hex.EncodeToString(row.Sha256))
	switch {
	case errors.Is(wrong, artifact.ErrSizeMismatch), errors.Is(wrong, artifact.ErrDigestMismatch):
		status, reason = "rejected", wrong.Error()
		p.log.WarnContext(ctx, "artifact rejected", "taskId", row.TaskID, "artifact", row.Name, "reason", reason)
	case wrong != nil:
		return p.storage(ctx, wrong)
	}
	if err := query.New(p.pool).SettleArtifact(ctx, status, reason, row.ID); err != nil {
		return fmt.Errorf("settle artifact %s: %w", row.ID, postgres.Classify(err))
	}
	return p.storage(ctx, wrong)
}

// find reads an artifact. One that waits for its bytes after the end of its task, whose token is still known, is a
// problem.ErrConflict.
func (p *Parts) find(ctx context.Context, task, id uuid.UUID) (query.Artifact, error) {
	row, err := query.New(p.pool).GetUpload(ctx, id, task)
	if errors.Is(err, pgx.ErrNoRows) {
		return row.Artifact, problem.ErrNotFound.With("The task has announced no artifact %s.", id)
	}
	if err != nil {
		return row.Artifact, fmt.Errorf("read artifact %s: %w", id, postgres.Classify(err))
	}
	if row.TaskEnded && row.Artifact.Status == "pending" {
		return row.Artifact, problem.ErrConflict.With("The task has ended as %s; nothing is uploaded any more.", row.TaskStatus)
	}
	return row.Artifact, nil
}

// checked refuses what comes too late.
func checked(row query.Artifact) error {
	return problem.ErrConflict.With("The artifact was checked and is %s; nothing is uploaded any more.", row.Status)
}

// storage gives an error of object storage its kind.
func (p *Parts) storage(ctx context.Context, err error) error {
	for is, detail := range map[error]string{
		artifact.ErrMissing: "Nothing was uploaded.", artifact.ErrSizeMismatch: "The artifact has another size than announced.",
		artifact.ErrDigestMismatch: "The artifact has another SHA-256 than announced.",
	} {
		if errors.Is(err, is) {
			return problem.ErrConflict.With("%s", detail).Because(err)
		}
	}
	switch {
	case errors.Is(err, artifact.ErrRefused): // The agent can do nothing about it, nor another try; an operator can.
		p.log.WarnContext(ctx, "object storage refuses; does Graf have all permissions?", "error", err)
		return problem.ErrConflict.
			With("Object storage refuses this: nothing was uploaded, a part was replaced meanwhile, or Graf lacks a permission.").Because(err)
	case errors.Is(err, artifact.ErrIncomplete):
		return problem.ErrConflict.With("Parts are missing, or shorter than they must be; ask for the parts that are there.").Because(err)
	case errors.Is(err, artifact.ErrUnavailable), errors.Is(err, artifact.ErrSlow):
		return problem.ErrUnavailable.With("Object storage is away or slow; try again.").Because(err)
	}
	return err
}
