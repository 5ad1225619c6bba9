-- Where each pipeline stood when a day of UTC began: what its tenant has used of a quota is told
-- from here once Redis has forgotten it.
CREATE TABLE argus.usage_marks (
    pipeline_uid text   NOT NULL REFERENCES argus.pipelines ON UPDATE CASCADE ON DELETE CASCADE,
    day          date   NOT NULL,
    accepted     bigint NOT NULL CHECK (accepted >= 0),
    PRIMARY KEY (pipeline_uid, day)
);
COMMENT ON COLUMN argus.usage_marks.accepted IS
    'Records that its log had taken when the day''s first mark was set.';
