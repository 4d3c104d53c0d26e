BEGIN TRANSACTION;
CREATE TABLE comparison (
	id INTEGER NOT NULL, 
	shard INTEGER NOT NULL, 
	identity TEXT NOT NULL, 
	environment TEXT NOT NULL, 
	reference_environment TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	first_divergence TEXT, 
	known TEXT NOT NULL, 
	reproduce TEXT NOT NULL, 
	reference_outcome TEXT NOT NULL, 
	stages TEXT NOT NULL, 
	causes TEXT NOT NULL, 
	modules TEXT NOT NULL, 
	has_max_size BOOLEAN NOT NULL, 
	largest_medium TEXT NOT NULL, 
	is_finding BOOLEAN NOT NULL, 
	seconds TEXT NOT NULL, retry_note TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_comparison PRIMARY KEY (id), 
	CONSTRAINT fk_comparison_environment FOREIGN KEY(environment) REFERENCES environment (digest), 
	CONSTRAINT fk_comparison_identity FOREIGN KEY(identity) REFERENCES identity (digest), 
	CONSTRAINT fk_comparison_reference_environment FOREIGN KEY(reference_environment) REFERENCES environment (digest), 
	CONSTRAINT fk_comparison_shard FOREIGN KEY(shard) REFERENCES shard (id) ON DELETE CASCADE
);
INSERT INTO "comparison" VALUES(1,1,'0bd45de04b7229e924e0335f59492fbb3254ffc423eefc5203501ab9f9b0b7cd','728010b50ad3ce84334d65239ad2a2ee43aab63c55a3e8a58c04e2b1d2b5f51e','728010b50ad3ce84334d65239ad2a2ee43aab63c55a3e8a58c04e2b1d2b5f51e','mismatch','differs','','vision','','parity run','captured','[{"stage":"prompt","status":"match"},{"stage":"input_ids","status":"match"},{"stage":"spans","status":"match"},{"stage":"encoder_budget","status":"match"},{"stage":"media","status":"match"},{"stage":"positions","status":"match"},{"stage":"vision","status":"mismatch","metrics":{"limit_ratio":50.0}},{"stage":"prefill","status":"match","metrics":{"limit_ratio":0.01}},{"stage":"decode","status":"match","metrics":{"limit_ratio":0.01}},{"stage":"greedy","status":"match"}]','[{"stage":"vision","name":"GELU","confidence":1.0}]','[]',0,'{"pattern":"plain","size":[56,56],"seed":0,"text":"","encoded":null}',0,'{}','');
INSERT INTO "comparison" VALUES(2,1,'e076b1be47434683ebe64b8c30b1863ba2bba01eb3d30805523de7fcf7ab2efa','728010b50ad3ce84334d65239ad2a2ee43aab63c55a3e8a58c04e2b1d2b5f51e','728010b50ad3ce84334d65239ad2a2ee43aab63c55a3e8a58c04e2b1d2b5f51e','match','agrees','',NULL,'','parity run','captured','[{"stage":"prompt","status":"match"},{"stage":"input_ids","status":"match"},{"stage":"spans","status":"match"},{"stage":"encoder_budget","status":"match"},{"stage":"media","status":"match"},{"stage":"positions","status":"match"},{"stage":"vision","status":"match","metrics":{"limit_ratio":0.01}},{"stage":"prefill","status":"match","metrics":{"limit_ratio":0.01}},{"stage":"decode","status":"match","metrics":{"limit_ratio":0.01}},{"stage":"greedy","status":"match"}]','[]','[]',0,'{"pattern":"plain","size":[56,56],"seed":0,"text":"","encoded":null}',0,'{}','');
CREATE TABLE environment (
	digest TEXT NOT NULL, 
	python TEXT NOT NULL, 
	platform TEXT NOT NULL, 
	device TEXT NOT NULL, 
	dtype TEXT NOT NULL, 
	packages TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	workarounds TEXT NOT NULL, 
	CONSTRAINT pk_environment PRIMARY KEY (digest)
);
INSERT INTO "environment" VALUES('728010b50ad3ce84334d65239ad2a2ee43aab63c55a3e8a58c04e2b1d2b5f51e','3.11.9','any','cpu','float32','{"transformers": "5.23.0", "vllm": "0.32.0"}','{}','[]');
CREATE TABLE identity (
	digest TEXT NOT NULL, 
	model TEXT NOT NULL, 
	backend TEXT NOT NULL, 
	mode TEXT NOT NULL, 
	entry_point TEXT NOT NULL, 
	"case" TEXT NOT NULL, 
	dtype TEXT NOT NULL, 
	device TEXT NOT NULL, 
	depth TEXT NOT NULL, 
	checkpoint TEXT NOT NULL, 
	case_digest TEXT NOT NULL, 
	CONSTRAINT pk_identity PRIMARY KEY (digest)
);
INSERT INTO "identity" VALUES('0bd45de04b7229e924e0335f59492fbb3254ffc423eefc5203501ab9f9b0b7cd','qwen2_vl','vllm','default','chat','one_image','float32','cpu','logits','','b060408bde4ffecca62146750ac8168d617552b96ef85914d0f77bfbe06ab332');
INSERT INTO "identity" VALUES('e076b1be47434683ebe64b8c30b1863ba2bba01eb3d30805523de7fcf7ab2efa','qwen2_vl','vllm','default','chat','two_images','float32','cpu','logits','','450f7648592208145e7997e27ef40a46c6f6e9ad12a40ad518faebcd1ebae474');
CREATE TABLE model (
	shard INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	family TEXT NOT NULL, 
	source TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	CONSTRAINT pk_model PRIMARY KEY (shard, name), 
	CONSTRAINT fk_model_shard FOREIGN KEY(shard) REFERENCES shard (id) ON DELETE CASCADE
);
INSERT INTO "model" VALUES(1,'qwen2_vl','qwen2_vl','synthetic','d');
CREATE TABLE run (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	release TEXT NOT NULL, 
	branch TEXT NOT NULL, 
	revision TEXT NOT NULL, 
	evidence TEXT NOT NULL, 
	problems TEXT NOT NULL, 
	CONSTRAINT pk_run PRIMARY KEY (id)
);
INSERT INTO "run" VALUES(1,'20260301-090000','0.18.0','','','','[]');
CREATE TABLE shard (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	session TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	started TEXT, 
	finished TEXT, 
	backends TEXT NOT NULL, 
	lock TEXT NOT NULL, 
	passes BOOLEAN NOT NULL, 
	comparisons INTEGER NOT NULL, 
	failing INTEGER NOT NULL, 
	problems TEXT NOT NULL, 
	seconds TEXT NOT NULL, 
	CONSTRAINT pk_shard PRIMARY KEY (id), 
	CONSTRAINT fk_shard_run FOREIGN KEY(run) REFERENCES run (id) ON DELETE CASCADE, 
	CONSTRAINT uq_shard_run UNIQUE (run, name), 
	CONSTRAINT uq_shard_session UNIQUE (session)
);
INSERT INTO "shard" VALUES(1,1,'vllm','a session','56a574cd3716fb60f625e1e2063e912e15475aec4a446586dc446052095b4ef2','2026-03-01T09:00:00.000+00:00','2026-03-01T09:05:00.000+00:00','["vllm"]','vllm aa',0,2,1,'[]','{"qwen2_vl/vllm/load": 30.5}');
CREATE TABLE store_revision (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT store_revision_pkc PRIMARY KEY (version_num)
);
INSERT INTO "store_revision" VALUES('0002');
CREATE INDEX ix_run_name ON run (name);
CREATE INDEX ix_run_release ON run (release);
CREATE INDEX ix_comparison_identity ON comparison (identity);
CREATE INDEX ix_comparison_shard ON comparison (shard);
COMMIT;
