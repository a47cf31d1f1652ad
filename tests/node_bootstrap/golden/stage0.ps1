# Stage 0: names the node, fetches the bundle by its hash, runs its install script. May run again at any time.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$profileJson = '{"blob_endpoint":"https://millpondsample.blob.core.windows.net/","bundle_sha256":"abababababababababababababababababababababababababababababababab","data_disk":false,"events_queue":"events","generation":"0123abcd","group":"d2sv5","identity_client_id":"11111111-2222-3333-4444-555555555555","pool":"risk","python_sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","queue_endpoint":"https://millpondsample.queue.core.windows.net/","status_interval_seconds":10.0,"task_slots":2,"work_queue":"risk-d2sv5-0123abcd"}'
$settings = $profileJson | ConvertFrom-Json
$root = Join-Path $env:SystemDrive '\millpond'
$imds = 'http://169.254.169.254/metadata'
$step = '0-stage-0'; $auth = $null; $started = ''
trap {
    $said = "step $($step.Substring(2)) failed at line $($_.InvocationInfo.ScriptLineNumber): $_"
    [Console]::Error.WriteLine("millpond: $said")
    if ($auth -and $step) { Write-Record 1 $said }
    exit 1
}
[Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12
[Net.WebRequest]::DefaultWebProxy = $null

function Invoke-Patiently([hashtable]$Request) {
    # New roles take minutes to spread: 401, 403, 404 mean "not yet".
    $deadline = (Get-Date).AddMinutes(20); $pause = 1
    while ($true) {
        try { return Invoke-WebRequest -UseBasicParsing -TimeoutSec 60 @Request }
        catch {
            if ((Get-Date) -gt $deadline) { throw }
            [Console]::Error.WriteLine("millpond: waiting for $($Request.Uri.Split('?')[0]): $($_.Exception.Message)")
            Start-Sleep -Seconds $pause; $pause = [Math]::Min($pause * 2, 15)
        }
    }
}
function Get-Now { (Get-Date).ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'+00:00'") }
function Write-Record([int]$Code, [string]$Output) {
    $body = @{ schema_version = 1; node_id = $node; step = $step.Substring(2); started_at = $started; ended_at = Get-Now
        exit_code = $Code; output = $Output } | ConvertTo-Json -Compress
    $null = Invoke-Patiently @{ Uri = "$($settings.blob_endpoint)nodes/boot/$node/$step.json"; Method = 'Put'
        Headers = $auth + @{ 'x-ms-blob-type' = 'BlockBlob' }; Body = [Text.Encoding]::UTF8.GetBytes($body) }
}
$started = Get-Now
$here = @{ Metadata = 'true' }
$node = $env:AZ_BATCH_NODE_ID
if (-not $node) {
    $node = ((Invoke-Patiently @{ Uri = "$imds/instance/compute?api-version=2021-02-01"; Headers = $here }).Content | ConvertFrom-Json).name
}
$query = "api-version=2018-02-01&resource=https://storage.azure.com/&client_id=$($settings.identity_client_id)"
$answer = (Invoke-Patiently @{ Uri = "$imds/identity/oauth2/token?$query"; Headers = $here }).Content | ConvertFrom-Json
$auth = @{ Authorization = "Bearer $($answer.access_token)"; 'x-ms-version' = '2023-11-03' }
Write-Record 0 ''
$step = '1-fetch'; $started = Get-Now
$hash = $settings.bundle_sha256
$target = Join-Path $root $hash.Substring(0, 12)
if (-not (Test-Path $target)) {
    $null = New-Item -ItemType Directory -Force $root, "$target.part"
    $null = Invoke-Patiently @{ Uri = "$($settings.blob_endpoint)bundles/$hash.tar.gz"; Headers = $auth; OutFile = "$target.gz" }
    if ((Get-FileHash "$target.gz").Hash -ne $hash) { throw 'the bundle has another hash' }
    & "$env:SystemRoot\System32\tar.exe" -xf "$target.gz" -C "$target.part"
    if ($LASTEXITCODE) { throw "tar: exit code $LASTEXITCODE" }
    Move-Item "$target.part" $target
}
Write-Record 0 ''
$step = ''
& "$target\install.ps1" -Node $node -ProfileJson $profileJson -Root $root
exit $LASTEXITCODE
