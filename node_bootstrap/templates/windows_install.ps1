# Installs and starts the task runner from the bundle this script lies in. May run again at any time.
param(
    [Parameter(Mandatory)][string]$Node,
    [Parameter(Mandatory)][string]$ProfileJson,
    [Parameter(Mandatory)][string]$PythonArchive,
    [Parameter(Mandatory)][string]$Root
)
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$state = Join-Path $Root 'state'
$pythonFolder = Join-Path $Root 'python'
$python = Join-Path $pythonFolder 'python.exe'
$settingsFile = Join-Path $state 'settings.json'
$output = Join-Path $state 'boot-output.txt'
$taskName = 'millpond'
$script:number = 1
$script:step = ''
$script:started = ''

function Write-Record([int]$Code) {
    # The interpreter may be what failed; then the extension's own log has to do.
    if (-not (Test-Path $python)) { return }
    & $python -m node_bootstrap.runner.boot_record $settingsFile $script:number $script:step $script:started $Code $output
    if ($LASTEXITCODE -ne 0) { Write-Warning 'this step could not be recorded' }
}
function Start-Step([string]$Name) {
    $script:number += 1
    $script:step = $Name
    $script:started = (Get-Date).ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'+00:00'")
    Set-Content -Path $output -Value "== $Name" -Encoding UTF8
}
trap {
    $message = "step $script:step failed at line $($_.InvocationInfo.ScriptLineNumber): $_"
    [Console]::Error.WriteLine("millpond: $message")
    Add-Content -Path $output -Value $message -Encoding UTF8
    Write-Record 1
    exit 1
}
function Invoke-Native([string]$File, [string[]]$Arguments) {
    & $File @Arguments 2>&1 | Out-File -FilePath $output -Append -Encoding utf8
    if ($LASTEXITCODE -ne 0) { throw "$File ended with exit code $LASTEXITCODE" }
}

$null = New-Item -ItemType Directory -Force $state
# Only the system and administrators may read what the runner knows (S-1-5-18, S-1-5-32-544).
Invoke-Native "$env:SystemRoot\System32\icacls.exe" @(
    $state, '/inheritance:r', '/grant', '*S-1-5-18:(OI)(CI)F', '/grant', '*S-1-5-32-544:(OI)(CI)F')

Start-Step 'install'
$settings = $ProfileJson | ConvertFrom-Json
$settings | Add-Member -Force -NotePropertyName node_id -NotePropertyValue $Node
$work = $state
if ($settings.data_disk) {
    # The pool's data disk is the one that nobody has used yet: tasks work on it.
    $raw = Get-Disk | Where-Object PartitionStyle -EQ 'RAW' | Select-Object -First 1
    if ($raw) {
        $null = $raw | Initialize-Disk -PartitionStyle GPT -PassThru | New-Partition -AssignDriveLetter -UseMaximumSize |
            Format-Volume -FileSystem NTFS -NewFileSystemLabel 'millpond' -Confirm:$false
    }
    $work = "$((Get-Volume -FileSystemLabel 'millpond').DriveLetter):\millpond"
    $null = New-Item -ItemType Directory -Force $work
    Invoke-Native "$env:SystemRoot\System32\icacls.exe" @(
        $work, '/inheritance:r', '/grant', '*S-1-5-18:(OI)(CI)F', '/grant', '*S-1-5-32-544:(OI)(CI)F')
}
$settings | Add-Member -Force -NotePropertyName root -NotePropertyValue $work
[IO.File]::WriteAllText($settingsFile, ($settings | ConvertTo-Json -Compress))
if (-not (Test-Path $python)) {
    Remove-Item -Recurse -Force "$pythonFolder.part" -ErrorAction SilentlyContinue
    Expand-Archive -Path $PythonArchive -DestinationPath "$pythonFolder.part"
    Move-Item "$pythonFolder.part" $pythonFolder
}
# The embeddable interpreter finds modules by its ._pth file alone, not by PYTHONPATH.
Get-ChildItem $pythonFolder -Filter 'python*._pth' | ForEach-Object {
    if (-not (Select-String -Path $_.FullName -SimpleMatch $PSScriptRoot -Quiet)) {
        Add-Content -Path $_.FullName -Value $PSScriptRoot -Encoding ASCII
    }
}
# What a batch node needs: paths of any length, no sleep, the clock in UTC, nothing inbound.
Set-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Control\FileSystem' -Name LongPathsEnabled -Value 1 -Type DWord
Invoke-Native "$env:SystemRoot\System32\powercfg.exe" @('/setactive', '8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c')
Set-TimeZone -Id 'UTC'
Set-NetFirewallProfile -All -Enabled True -DefaultInboundAction Block
Write-Record 0

Start-Step 'service'
# A scheduled task at startup, as SYSTEM: Windows has no service host for a script without a third-party program.
$action = New-ScheduledTaskAction -Execute $python -Argument "-m node_bootstrap.runner `"$settingsFile`""
$trigger = New-ScheduledTaskTrigger -AtStartup
$principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
$options = New-ScheduledTaskSettingsSet -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) `
    -ExecutionTimeLimit ([TimeSpan]::Zero) -MultipleInstances IgnoreNew -AllowStartIfOnBatteries
$null = Register-ScheduledTask -Force -TaskName $taskName -Action $action -Trigger $trigger -Principal $principal -Settings $options
Start-ScheduledTask -TaskName $taskName
Write-Record 0
